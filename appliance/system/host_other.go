//go:build !gokrazy

package system

import (
	"io"
	"log/slog"
)

const onGokrazy = false

// hostPartition: a plain process has no partition of its own to take care of.
func hostPartition(*slog.Logger) stateHost { return nil }

// Console returns the writer for the screen and serial port of the box. A plain
// process has neither: what is written is dropped.
func Console() io.Writer { return io.Discard }
