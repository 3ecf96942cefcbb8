//go:build !linux

package registry

import "testing"

func busy(*testing.B, *fixture, []Ask) {}
