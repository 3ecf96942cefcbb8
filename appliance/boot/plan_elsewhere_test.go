package boot

import "testing"

// TestElsewhere: what is fetched from other servers is known to be, and what waits
// for nobody's report is no armed boot.
func TestElsewhere(t *testing.T) {
	const far = "http://192.0.2.9/x"
	for name, tt := range map[string]struct {
		target Target
		then   *Target
		want   bool
	}{
		"kernel here":         {Target{Kind: TargetLinux, Kernel: "files/vmlinuz", Initrds: []string{"files/initrd"}}, nil, false},
		"kernel there":        {Target{Kind: TargetLinux, Kernel: far}, nil, true},
		"initrd there":        {Target{Kind: TargetLinux, Kernel: "files/vmlinuz", Initrds: []string{far}}, nil, true},
		"program here":        {Target{Kind: TargetEFI, Program: "files/a.efi"}, nil, false},
		"program there":       {Target{Kind: TargetEFI, Program: far}, nil, true},
		"pxelinux here":       {Target{Kind: TargetPXELinux}, nil, false},
		"GRUB there":          {Target{Kind: TargetGRUB, Program: far}, nil, true},
		"Windows here":        {Target{Kind: TargetWimboot, Kernel: "files/wimboot", Wim: &Wim{Wim: "files/boot.wim"}}, nil, false},
		"Windows there":       {Target{Kind: TargetWimboot, Kernel: "files/wimboot", Wim: &Wim{Wim: far}}, nil, true},
		"chain":               {Target{Kind: TargetChain, URL: far}, nil, true},
		"iSCSI":               {Target{Kind: TargetSAN, SAN: &SAN{Protocol: SANiSCSI}}, nil, true},
		"iSCSI, kernel here":  {Target{Kind: TargetSAN, SAN: &SAN{Protocol: SANiSCSI}}, &Target{Kind: TargetLinux, Kernel: "files/vmlinuz"}, false},
		"an operator's words": {Target{Kind: TargetScript, Script: "shell"}, nil, true},
		"local":               {Target{Kind: TargetLocal}, nil, false},
		"menu":                {Target{Kind: TargetMenu}, nil, false},
	} {
		p := Plan{Choice: Choice{Action: ActionBoot}, Target: tt.target, Then: tt.then}
		if got := p.Elsewhere(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
		for _, a := range []Action{ActionMenu, ActionSilent, ActionLocal, ActionAsk} {
			if p.Choice.Action = a; p.Elsewhere() {
				t.Errorf("%s as %s: elsewhere", name, a)
			}
		}
	}
	p := Plan{Choice: Choice{Action: ActionArmed}}
	if p.Told() != ActionBoot {
		t.Errorf("a harmless target that is booted once is told as %s", p.Told())
	}
	if p.Target.Destructive = true; p.Told() != ActionArmed {
		t.Errorf("an armed boot is told as %s", p.Told())
	}
}
