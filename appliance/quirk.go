package appliance

import (
	"sync"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/metrics"
	"github.com/bootpuck/bootpuck/appliance/quirks"
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
			if b.witnesses.enough(quirks.ID(class, oui, product), o.Client.MAC, o.Shape) {
				b.quirks.Worked(class, oui, product, o.Shape, true)
			}
		case o.Rescued && !o.Shape.IsZero():
			if b.witnesses.enough(quirks.ID(class, oui, product), o.Client.MAC, o.Shape) {
				b.quirks.Worked(class, oui, product, o.Shape, true)
			}
		case seeded && o.Shape == o.Seed:
			b.quirks.Worked(class, oui, product, o.Shape, false)
		}
	}
}

// witnesses remembers which machine first showed that a model needs a shape that
// others of its make may not bear: another boot program can hang where the usual
// one works. One machine, which may be a liar, is not enough for that; the form
// of an offer, a delay and smaller blocks hurt nobody.
type witnesses struct {
	mu    sync.Mutex
	first map[witness]boot.MAC
}

type witness struct {
	model string
	shape boot.Shape
}

// maxWitnesses bounds them. Beyond, all are forgotten: the next two machines
// teach the same again.
const maxWitnesses = 1024

// enough says whether the shape may be learned for the model from this machine.
func (w *witnesses) enough(model string, mac boot.MAC, s boot.Shape) bool {
	if s.Variant == boot.VariantDefault && !s.NoPriority {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k := witness{model, s}
	if first, known := w.first[k]; known {
		return first != mac
	}
	if w.first == nil || len(w.first) >= maxWitnesses {
		w.first = map[witness]boot.MAC{}
	}
	w.first[k] = mac
	return false
}

// speaksFor says whether an event can be of the machine that it names: a request
// by HTTP may claim any hardware address. Where the box has seen which address
// the machine took, another one on the same LAN is somebody else's claim.
func (b *Box) speaksFor(e boot.Event) bool {
	if e.MAC == "" || !e.Addr.IsValid() || e.Kind != boot.KindScript && e.Kind != boot.KindHTTP {
		return true
	}
	own, known := b.memory.Addr(e.MAC)
	if !known || own == e.Addr.Unmap() {
		return true
	}
	_, onLink, _ := b.neighbours.get(e.Addr)
	return !onLink
}
