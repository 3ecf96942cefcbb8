package appliance

import (
	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/metrics"
)

// modelShape is the shape that machines like this client are offered first.
func (b *Box) modelShape(c boot.Client) (s boot.Shape, pinned bool) {
	if b.quirks.Empty() {
		return boot.Shape{}, false
	}
	product := ""
	if b.quirks.Products() {
		_, _, product = b.registry.Who(c.MAC, c.GUID)
	}
	class, oui := c.Model()
	return b.quirks.For(class, oui, product)
}

// observeQuirks tells the memory of clients what an event says about the shape
// of the answer that a machine was given, and the book of models what a success
// teaches. stage is the step of the boot that the event is.
func (b *Box) observeQuirks(e boot.Event, stage metrics.Stage) {
	switch e.Kind {
	case boot.KindForeign:
		b.memory.Overheard(e.MAC, e.Foreign)
	case boot.KindTFTP:
		switch {
		case e.Reason == boot.ReasonNone && e.Bytes > 0:
			b.memory.Fetched(e.Addr, e.Block, stage == metrics.StageLoaderTFTP, e.Time)
			if stage == metrics.StageFile {
				b.learn(e)
			}
		case !e.Acked || e.Bytes != 0:
		case e.Reason == boot.ReasonClientSilent, e.Reason == boot.ReasonClientAborted && e.Retries >= 2:
			// Some ROMs say that they give up.
			b.stalled(e)
		}
	case boot.KindHTTP:
		if e.Reason != boot.ReasonNone || e.Bytes == 0 {
			return
		}
		if stage == metrics.StageLoaderHTTP {
			b.memory.Fetched(e.Addr, 0, true, e.Time)
			return
		}
		b.learn(e)
	case boot.KindScript:
		if stage == metrics.StageScript {
			b.learn(e)
		}
	default:
	}
}

// stalled has the next transfer to a client made of smaller blocks.
func (b *Box) stalled(e boot.Event) {
	mac, move := b.memory.Stalled(e.Addr, e.Block)
	if move == (boot.Move{}) {
		return
	}
	b.Record(boot.Event{
		Time: e.Time, Kind: boot.KindQuirk, Reason: move.Reason, MAC: mac, GUID: e.GUID, Addr: e.Addr, Interface: e.Interface,
		Arch: e.Arch, ArchKnown: e.ArchKnown, File: e.File, Block: e.Block, Shape: &move.To, Text: move.Text(),
	})
}

// learn takes over what a success says about the model of the machine.
func (b *Box) learn(e boot.Event) {
	for _, o := range b.memory.Succeeded(e.MAC, e.Time) {
		class, oui := o.Client.Model()
		_, _, product := b.registry.Who(o.Client.MAC, o.Client.GUID)
		seeded := !o.Seed.IsZero() && o.Began == o.Seed
		switch {
		case o.Rescued && seeded:
			b.quirks.Failed(class, oui, product, o.Seed)
			b.quirks.Worked(class, oui, product, o.Shape, true)
		case o.Rescued && !o.Shape.IsZero():
			b.quirks.Worked(class, oui, product, o.Shape, true)
		case seeded && o.Shape == o.Seed:
			b.quirks.Worked(class, oui, product, o.Shape, false)
		}
	}
}
