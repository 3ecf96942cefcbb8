package main

import (
	"io"
	"testing"

	"github.com/bootpuck/bootpuck/bootfiles"
)

// realKitchen works with the true manifest and the cache that make uses, so that
// an end-to-end test fetches only what was never fetched.
func realKitchen(t *testing.T) *kitchen {
	t.Helper()
	pins, err := bootfiles.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	k := newKitchen(pins, "../.build/cache", "", io.Discard)
	t.Cleanup(func() { k.close() })
	return k
}
