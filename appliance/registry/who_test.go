package registry

import (
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// TestWhoAndArmed: the machine behind a packet is named, a stranger is not, and
// what waits to overwrite something is counted until it was used or disarmed.
func TestWhoAndArmed(t *testing.T) {
	f := newFixture(t)
	f.catalog()
	c := machine(3)
	id := f.id(c, "web3")
	s := c.sighting()
	if got, name, _ := f.Who(s.MAC, s.GUID); got != id || name != "web3" {
		t.Errorf("who is %s: %q %q", s.MAC, got, name)
	}
	if got, name, _ := f.Who("02:99:99:99:99:99", boot.GUID{}); got != "" || name != "" {
		t.Errorf("a stranger is %q %q", got, name)
	}
	if n := f.Armed(); n != 0 {
		t.Errorf("%d armed before anybody armed", n)
	}
	f.assign(id, "install", boot.AssignArmed)
	if n := f.Armed(); n != 1 {
		t.Errorf("%d armed, want 1", n)
	}
	f.start(c)
	if n := f.Armed(); n != 0 {
		t.Errorf("%d armed after it was booted", n)
	}
}
