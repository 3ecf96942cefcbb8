// Command ipxe-build fetches the third-party programs the product hands to
// machines (iPXE, GRUB, shim, pxelinux, memtest86+), proves that they are the pinned ones, and
// lays them where package bootfiles embeds them. It also fetches the sources that
// belong to them and builds a bootable USB image out of them.
//
// It must never contain an address of an archive mirror: that is read from the
// machine's own apt configuration. It must never need root, never touch the
// system's apt state, and never leave a half-written result behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/bootpuck/bootpuck/bootfiles"
)

const usage = `usage: ipxe-build COMMAND [flags]

  fetch    fetch the pinned packages, check them and fill the folder that is embedded
  verify   compare that folder with the manifest, byte for byte
  sources  fetch the source packages that belong to the binaries
  usb      build a bootable USB image for machines that cannot boot from the network

Run it at the root of the repository; "ipxe-build COMMAND -h" lists the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: 0 done, 1 not done, 2 asked wrongly.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	var (
		name   = args[0]
		flags  = flag.NewFlagSet("ipxe-build "+name, flag.ContinueOnError)
		cache  = flags.String("cache", filepath.FromSlash(".build/cache"), "keep downloaded packages in `DIR`")
		out    string
		mirror string
		box    string
	)
	flags.SetOutput(stderr)
	outFlag := func(value, what string) { flags.StringVar(&out, "out", filepath.FromSlash(value), what) }
	mirrorFlag := func() {
		flags.StringVar(&mirror, "mirror", "", "Debian mirror `URL`, instead of the one apt is configured with on this machine")
	}
	var do func(context.Context, *kitchen) error
	switch name {
	case "fetch":
		outFlag("bootfiles/dist", "write the boot files to `DIR`")
		mirrorFlag()
		do = func(ctx context.Context, k *kitchen) error { return k.fetch(ctx, out) }
	case "verify":
		outFlag("bootfiles/dist", "check the boot files in `DIR`")
		do = func(_ context.Context, k *kitchen) error { return k.verify(out) }
	case "sources":
		outFlag(".build/sources", "write the source packages to `DIR`")
		mirrorFlag()
		do = func(ctx context.Context, k *kitchen) error { return k.sources(ctx, out) }
	case "usb":
		outFlag(".build/bootpuck-usb.img", "write the image to `FILE`")
		mirrorFlag()
		flags.StringVar(&box, "box", "", "`ADDRESS` of the box (IPv4 or name, with :port if not 80) the medium asks; default: found through proxyDHCP")
		do = func(ctx context.Context, k *kitchen) error { return k.usb(ctx, out, box) }
	case "-h", "-help", "--help", "help":
		fmt.Fprint(stdout, usage)
		return 0
	default:
		fmt.Fprintf(stderr, "ipxe-build: unknown command %q\n\n%s", name, usage)
		return 2
	}
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "ipxe-build %s: unexpected argument %q\n", name, flags.Arg(0))
		return 2
	}
	pins, err := bootfiles.Manifest()
	if err == nil {
		k := newKitchen(pins, *cache, mirror, stdout)
		defer k.close()
		err = do(ctx, k)
	}
	if err != nil {
		fmt.Fprintf(stderr, "ipxe-build %s: %v\n", name, err)
		return 1
	}
	return 0
}
