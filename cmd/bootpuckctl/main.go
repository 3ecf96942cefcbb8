// Command bootpuckctl is the operator's command: it looks at a running box and
// changes what it does through its API, and plays a PXE client against the
// network it runs on.
//
// What it prints comes in part from machines on the LAN, so from strangers:
// nothing of that reaches the terminal but as visible characters. The token is
// sent to the box that was asked for and follows no redirect.
//
// The exit status is part of the interface: see exitHelp.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

// version is set by the linker for releases.
var version string

// errBad is the answer that is bad news.
var errBad = errors.New("bad")

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func main() { os.Exit(mainStatus()) }

// mainStatus is main without the end of the process.
func mainStatus() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], stdio{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr, getenv: os.Getenv, terminal: isTerminal(os.Stderr),
	})
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, line []string, std stdio) int {
	table := commands()
	p, err := parseLine(table, line)
	if errors.Is(err, errHelp) {
		return help(std, p)
	}
	if err != nil {
		complain(std.errOut, p.cmd, err)
		if p.cmd == nil && len(p.words) == 0 {
			usage(std.errOut, table)
		} else {
			fmt.Fprintf(std.errOut, "see bootpuckctl help %s\n", visible(strings.Join(helpWords(table, p), " ")))
		}
		return exitUsage
	}
	err = p.cmd.run(&call{ctx: ctx, stdio: std, cmd: p.cmd, args: p.args, flags: p.flags})
	if _, graded := errors.AsType[severity](err); err != nil && !graded && !errors.Is(err, errBad) {
		complain(std.errOut, p.cmd, err)
	}
	return statusOf(err)
}

// help answers -help, which may stand anywhere.
func help(std stdio, p parsed) int {
	words := p.words
	if p.cmd != nil {
		words = strings.Fields(p.cmd.name)
	}
	c := &call{stdio: std, args: words}
	if err := runHelp(c); err != nil {
		complain(std.errOut, nil, err)
		return exitUsage
	}
	return exitOK
}

// helpWords are those of the words that help knows something about.
func helpWords(table []*command, p parsed) []string {
	if p.cmd != nil {
		return []string{p.cmd.name}
	}
	for n := len(p.words); n > 0; n-- {
		if c, more := find(table, p.words[:n]); c != nil || more {
			return p.words[:n]
		}
	}
	return nil
}

// complain prints an error; faults of input one a line, so that programs can
// read them.
func complain(w io.Writer, c *command, err error) {
	who := "bootpuckctl"
	if c != nil {
		who += " " + c.name
	}
	if faults, ok := errors.AsType[invalid](err); ok {
		fmt.Fprintf(w, "%s: invalid input\n", who)
		for _, f := range faults {
			fmt.Fprintln(w, visible(f.String()))
		}
		return
	}
	fmt.Fprintf(w, "%s: %s\n", who, visibleLines(err.Error()))
}
