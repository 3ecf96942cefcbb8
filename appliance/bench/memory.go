package main

import (
	"context"
	"fmt"
	"time"
)

// memory is the resident memory of an idle box.
func (b *bench) memory(ctx context.Context) error {
	p, err := b.box(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	pause(time.Now().Add(3 * time.Second)) // start-up garbage is returned
	all, anon := p.rss()
	b.figures = append(b.figures, figure{"memory: resident when idle, of it not the program file", fmt.Sprintf("%.1f, %.1f MB", float64(all)/1e6, float64(anon)/1e6), "< 40 MB"})
	return nil
}
