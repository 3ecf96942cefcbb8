// Command bootpuckctl is the operator's command: it looks at a running box
// through its API, and plays a PXE client against the network it runs on.
//
// Exit status: 0 all well; 1 the question could not be answered (box not
// reached, bad arguments); 2 it was answered, and the answer is bad (the box is
// not healthy, the probe would not have booted).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is set by the linker for releases.
var version string

// errBad is the answer that is bad news.
var errBad = errors.New("bad")

// command is one word of the command line.
type command struct {
	name string
	help string
	run  func(ctx context.Context, args []string, out io.Writer) error
}

func commands() []command {
	return []command{
		{"health", "is the box well? prints the health tree", runHealth},
		{"events", "what happened; -f goes on as it happens", runEvents},
		{"probe", "play a network boot client on this LAN and print each step", runProbe},
		{"version", "print the version", func(_ context.Context, _ []string, out io.Writer) error {
			fmt.Fprintln(out, "bootpuckctl", versionText())
			return nil
		}},
	}
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: bootpuckctl COMMAND [flags]; COMMAND -help lists its flags")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.help)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	if len(args) == 0 {
		usage(errOut)
		return 1
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:], out)
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errBad):
			return 2
		}
		fmt.Fprintf(errOut, "bootpuckctl %s: %v\n", c.name, err)
		return 1
	}
	if args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		usage(out)
		return 0
	}
	fmt.Fprintf(errOut, "bootpuckctl: no command %q\n", args[0])
	usage(errOut)
	return 1
}

// newFlags is a flag set whose errors come back instead of ending the process.
func newFlags(name string, out io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(out)
	return f
}

// parse also refuses what is left over.
func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return nil
}
