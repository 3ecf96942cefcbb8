// Command image makes the flashable image of one kind of machine. It is what
// "make image" runs; see README.md beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/bootpuck/bootpuck/appliance/image/builder"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	arch := fs.String("arch", "", "architecture: amd64 or arm64 (default: this machine's)")
	kernel := fs.String("kernel", "", "kernel on arm64: rpi (Raspberry Pi, default) or generic (UEFI machines)")
	root := fs.String("root", ".", "the repository's root directory")
	desc := fs.String("config", "", "instance description (default: config.json in the root directory)")
	out := fs.String("out", ".build/image", "output directory")
	version := fs.String("version", "", "version to stamp in (default: from git)")
	verify := fs.Bool("verify-reproducible", false, "build twice, in different directories and without shared caches, and compare")
	verbose := fs.Bool("v", false, "show what the tools print")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	kind, err := builder.FindKind(*arch, *kernel)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	o := builder.Options{
		Root: *root, Out: *out, Kind: kind, Version: *version, Description: *desc,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
	build := builder.Build
	if *verify {
		build = builder.Verify
	}
	res, err := build(ctx, o)
	if err != nil {
		return err
	}
	for _, name := range []string{res.Compressed, res.Update, res.Checksum, res.Raw} {
		st, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("result: %w", err)
		}
		fmt.Printf("%12d bytes  %s\n", st.Size(), name)
	}
	fmt.Printf("%s image of bootpuck %s for %s, made in %.1f s\n", kind.Name, res.Version, kind.Machines, res.Took.Seconds())
	return nil
}
