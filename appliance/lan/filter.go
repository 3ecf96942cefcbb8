package lan

import "golang.org/x/net/bpf"

// Kernel packet types (linux/if_packet.h): 0 to us, 1 broadcast, 2 multicast,
// 3 to another host, 4 sent by this host.
const lastForUs = 2

// guard drops what is meant for other hosts (heard when someone else has made
// the interface promiscuous, or on a bridge) and what this host sends.
var guard = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastForUs, SkipFalse: 1},
	bpf.RetConstant{Val: 0},
}

// replies lets through whole IPv4 UDP packets from port 67 or 4011 to 68. The
// packet begins with the IP header.
var replies = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 9},
	bpf.LoadAbsolute{Off: 6, Size: 2}, // flags and fragment offset
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 7},
	bpf.LoadMemShift{Off: 0},          // X: length of the IP header
	bpf.LoadIndirect{Off: 2, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: portClient, SkipTrue: 4},
	bpf.LoadIndirect{Off: 0, Size: 2}, // source port
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: portServer, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: portBootServer, SkipTrue: 1},
	bpf.RetConstant{Val: maxFrame},
	bpf.RetConstant{Val: 0},
}

// assembled is the whole filter in the kernel's form.
func assembled() ([]bpf.RawInstruction, error) {
	return bpf.Assemble(append(append([]bpf.Instruction(nil), guard...), replies...))
}
