package store

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// children are what the test binary does when a test starts it again.
var children = map[string]func(args []string) error{
	"writer": writerChild,
	"hold":   holdChild,
	"tmpfs":  tmpfsChild,
	"limit":  limitChild,
}

// childEnv names the child to be.
const childEnv = "BOOTPUCK_STORE_CHILD"

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		if err := child(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
