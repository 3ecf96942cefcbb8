package lan

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Diff tells what changed from before to after, as events of kind network
// without a time. Only interfaces that are or were served are worth a word:
// the coming and going of containers is not. IPv6 addresses change by
// themselves (privacy extensions) and are left out.
//
// An interface that begins to wait for an address is told of once, by
// ReasonNoAddress; a named one that does not exist by ReasonNoInterface; the
// loss of the last link by ReasonLinkDown.
func Diff(before, after Picture) []boot.Event {
	var out []boot.Event
	add := func(reason boot.Reason, ifname, text string) {
		out = append(out, boot.Event{Kind: boot.KindNetwork, Reason: reason, Interface: ifname, Text: text})
	}
	old := make(map[int]Interface, len(before.Interfaces))
	for _, i := range before.Interfaces {
		old[i.Index] = i
	}
	for _, n := range after.Interfaces {
		o, existed := old[n.Index]
		delete(old, n.Index)
		texts := changes(o, n, existed)
		for k, text := range texts {
			// The waiting is the outcome of all the interface's changes
			// together, so the last sentence carries it.
			if k == len(texts)-1 && n.waiting() && !o.waiting() {
				add(boot.ReasonNoAddress, n.Name, text+"; "+waitingClause+".")
				continue
			}
			add(boot.ReasonNone, n.Name, text+".")
		}
	}
	for _, o := range before.Interfaces {
		if _, gone := old[o.Index]; gone && o.Served {
			add(boot.ReasonNone, o.Name, o.Name+" is gone.")
		}
	}
	for _, name := range after.Missing {
		if !slices.Contains(before.Missing, name) {
			add(boot.ReasonNoInterface, name, missingText(name))
		}
	}
	if after.linkless() && !before.linkless() {
		add(boot.ReasonLinkDown, "", after.Problems()[0].Text)
	}
	if after.Omitted > 0 && before.Omitted == 0 {
		add(boot.ReasonNone, "", fmt.Sprintf("This machine has more than %d network interfaces; %d that matter least are left out.",
			MaxInterfaces, after.Omitted))
	}
	return out
}

// changes words the changes of one interface, without the full stop.
func changes(o, n Interface, existed bool) []string {
	switch {
	case !n.Served && !o.Served:
		return nil
	case !existed:
		return []string{fmt.Sprintf("%s found: %s", n.Name, condition(n))}
	case !n.Served:
		return []string{fmt.Sprintf("%s is no longer served: %s", n.Name, n.Unserved)}
	case !o.Served:
		return []string{fmt.Sprintf("%s is served from now on: %s", n.Name, condition(n))}
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, n.Name+fmt.Sprintf(format, args...)) }
	if o.Name != n.Name {
		say(" is the new name of %s", o.Name)
	}
	if !bytes.Equal(o.MAC, n.MAC) {
		say(": hardware address changed from %s to %s", o.MAC, n.MAC)
	}
	if o.MTU != n.MTU {
		say(": MTU changed from %d to %d", o.MTU, n.MTU)
	}
	if o.Up != n.Up && n.Up {
		say(": link up")
	}
	if o.Up != n.Up && !n.Up {
		say(": link down")
	}
	gained, lost := without(n.Addrs, o.Addrs), without(o.Addrs, n.Addrs)
	if len(lost) > 0 {
		say(" lost %s", listed(lost))
	}
	if len(gained) > 0 {
		say(" has %s", listed(gained))
	}
	from, had := AddressFor(o, netip.Addr{})
	to, has := AddressFor(n, netip.Addr{})
	if had && has && from != to {
		say(": answers now come from %s instead of %s", to, from)
	}
	return out
}

// condition words the state of an interface that is seen for the first time.
func condition(i Interface) string {
	link := "no link"
	if i.Up {
		link = "link up"
	}
	if len(i.Addrs) == 0 {
		return link
	}
	return link + ", " + listed(i.Addrs)
}

func without(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range a {
		if !slices.Contains(b, p) {
			out = append(out, p)
		}
	}
	return out
}
