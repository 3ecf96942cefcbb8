// Command bootpuck is the box: it lets every machine on the LAN boot from the
// network, beside a DHCP server it does not control.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/bootpuck/bootpuck/appliance"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

// statePatience is how long the settings in the state directory are waited for.
// Only the very first boot of an image takes longer, and has no settings yet.
const statePatience = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	worked, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bootpuck: %v\n", err)
	}
	if !worked && err == nil {
		return // asked for words only
	}
	os.Exit(appliance.ExitStatus(ctx.Err() != nil, err))
}

// run is main without the process. worked says that a box was started, rather
// than only something printed.
func run(ctx context.Context, args []string, out, errOut io.Writer) (worked bool, err error) {
	showVersion := false
	line, err := settings.ParseArgs("bootpuck", args, errOut, func(f *flag.FlagSet) {
		f.BoolVar(&showVersion, "version", false, "print the version and end")
	})
	switch {
	case errors.Is(err, flag.ErrHelp):
		return false, nil
	case err != nil:
		return false, err
	case showVersion:
		fmt.Fprintln(out, "bootpuck", appliance.Version())
		return false, nil
	}
	log := appliance.NewLog(errOut)
	defer log.Close()
	state := appliance.OpenState(ctx, line.State(), log.Logger)
	state.Wait(statePatience)
	s, err := line.Load()
	if err != nil {
		return true, errors.Join(err, state.Close())
	}
	return true, appliance.Main(ctx, s, state, log.At(s.LogLevel))
}
