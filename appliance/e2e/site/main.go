// Command site is what `make run` starts: a virtual site on this machine, with
// a router whose DHCP server knows nothing of booting, the box, and a machine
// that is switched on. It says in plain sentences what happens, shows the box's
// status page on this machine, and removes everything at Ctrl-C.
//
// It must never touch the machine's own network: the site lives in namespaces,
// and the one thing it opens outside them is a listener on the loopback address.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/bootpuck/bootpuck/appliance/e2e/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	bootpuck    string
	listen      string
	client      string
	build       string
	dist        string
	untilBooted bool
	limit       time.Duration
}

func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("site", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.StringVar(&o.bootpuck, "bootpuck", ".build/bin/bootpuck", "the box's program")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "where the box's status page is shown on this machine")
	f.StringVar(&o.client, "client", "ipxe-rom", "machine to switch on: "+clientNames())
	f.StringVar(&o.build, "build", ".build", "directory for what the site needs")
	f.StringVar(&o.dist, "dist", "bootfiles/dist", "boot programs that make bootfiles fetched")
	f.BoolVar(&o.untilBooted, "until-booted", false, "end, successfully, when the machine has booted and the page has answered")
	f.DurationVar(&o.limit, "limit", 5*time.Minute, "with -until-booted: give up after this time")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: everything is a flag, see -help", f.Arg(0))
	}
	return o, nil
}

func clientNames() string {
	names := ""
	for i, c := range lab.Clients {
		if i > 0 {
			names += ", "
		}
		names += c.Name
	}
	return names
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	o, err := parse(args, errOut)
	if err != nil {
		return err
	}
	client, err := lab.ClientNamed(o.client)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("not root: a virtual site needs network namespaces")
	}
	n := newNarrator(out)
	// The listener first: it is the one thing that can be taken by another.
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("show the status page: %w (another address: -listen)", err)
	}
	defer listener.Close()

	files := filepath.Join(o.build, "site", "files")
	boot, err := lab.FindBootFiles(o.dist)
	if err != nil {
		return err
	}
	if err := lab.WritePayload(files, lab.PayloadOptions{
		Payload: lab.Installer, Arches: []string{client.Arch},
		Memtest: boot.Memtest, GRUBServer: lab.BoxAddr, GRUBPath: "/files",
	}); err != nil {
		return err
	}
	newer := ""
	if client.NeedsNewer() {
		if newer, err = lab.FetchNewFirmware(ctx, filepath.Join(o.build, "cache")); err != nil {
			return err
		}
	}

	n.say("Building a site of its own: a LAN, a router whose DHCP server knows nothing of booting, and the box.")
	site, err := lab.Open(ctx, lab.SiteConfig{KeepDir: filepath.Join(o.build, "site", "logs")})
	if err != nil {
		return err
	}
	defer func() {
		n.say("Taking the site down.")
		if err := site.Close(); err != nil {
			fmt.Fprintln(errOut, "site: clean up:", err)
		}
	}()
	n.say("The router is %s, a plain dnsmasq. Nobody has told it about the box.", lab.RouterAddr)
	box := &lab.Process{Binary: o.bootpuck, Files: files, DefaultScript: "files/" + lab.ScriptName}
	if err := box.Start(ctx, site); err != nil {
		return err
	}
	page := "http://" + listener.Addr().String()
	n.say("The box is %s and healthy. Its status page is on %s", lab.BoxAddr, page)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	defer listener.Close()
	wg.Go(func() { forward(ctx, listener, site) })
	wg.Go(func() {
		if err := site.Follow(ctx, box.Admin(), func(e lab.Event) { n.event(e) }); err != nil && ctx.Err() == nil {
			n.say("The box's event stream ended: %v", err)
		}
	})
	wg.Go(func() {
		select {
		case <-box.Proc().Done():
			if ctx.Err() == nil {
				cancel(fmt.Errorf("the box ended; it said:\n%s", box.Proc().Out.Tail(8)))
			}
		case <-ctx.Done():
		}
	})
	return show(ctx, o, n, site, client, newer, page)
}

// show switches the machine on and follows it.
func show(ctx context.Context, o options, n *narrator, site *lab.Site, client lab.Client, newer, page string) error {
	accels := lab.Accelerators{Kernel: lab.InstallerKernel("amd64")}
	accel, why := accels.For(ctx, client.Firmware, newer)
	if accel == lab.TCG {
		n.say("This computer cannot run the machine on its own processor (%s), so it is emulated. That takes its time.", short(why))
	}
	guest, err := site.Boot(ctx, lab.Boot{Row: client.Name, Client: client, Accel: accel, Newer: newer, OnMark: n.mark})
	if err != nil {
		return err
	}
	n.say("Power on: a machine of kind %s with an empty disk, %s.", client.Name, guest.MAC)
	goal := lab.Installer.Goal()
	goal.Limit = o.limit
	r := lab.Watch(ctx, guest, goal)
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if r.Error != "" {
		_ = guest.Keep(site.Logs())
		err := fmt.Errorf("the machine did not boot: %s; what it did is in %s", r.Error, site.Logs())
		if o.untilBooted {
			return err
		}
		n.say("%v", err)
	} else {
		n.say("Debian's installer is running on the machine: %s s from its first DHCP packet to the script, %s s to the installer.", r.Script, r.Payload)
	}
	if err := answers(ctx, page); err != nil {
		return fmt.Errorf("status page: %w", err)
	}
	n.say("The status page answers on %s", page)
	if o.untilBooted {
		return nil
	}
	n.say("Everything stays up until Ctrl-C.")
	<-ctx.Done()
	return ended(ctx)
}

// ended is nil when a person asked for the end.
func ended(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// answers fetches the status page as a browser on this machine would.
func answers(ctx context.Context, page string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"/", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// maxForwarded bounds the connections forwarded at once; a browser needs six.
const maxForwarded = 64

// forward carries connections from this machine's loopback into the site, until
// the listener is closed.
func forward(ctx context.Context, l net.Listener, site *lab.Site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxForwarded)
	for {
		outer, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = outer.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			defer outer.Close()
			inner, err := site.Dial(ctx, "tcp4", lab.BoxAddr+":8080")
			if err != nil {
				return
			}
			defer inner.Close()
			stop := context.AfterFunc(ctx, func() { _ = outer.Close(); _ = inner.Close() })
			defer stop()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(inner, outer)
				if t, ok := inner.(*net.TCPConn); ok {
					_ = t.CloseWrite()
				}
			}()
			_, _ = io.Copy(outer, inner)
			_ = outer.Close()
			<-done
		})
	}
}
