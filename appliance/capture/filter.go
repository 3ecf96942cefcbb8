package capture

import (
	"fmt"
	"math"

	"golang.org/x/net/bpf"
)

// What is kept of a frame, octets.
const (
	snapDHCP = 2048 // whole: DHCP packets are below 1500
	snapRest = 512  // headers and the head of an HTTP message
)

// firstBlocks are the DATA and ACK packets of a TFTP transfer that are always
// kept; after them every 256th is.
const firstBlocks = 4

// Kernel packet types (linux/if_packet.h): 0 to us, 1 broadcast, 2 multicast,
// 3 to another host, 4 sent by this host.
const (
	packetMulticast = 2
	packetOutgoing  = 4
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100 // IEEE 802.1Q
	etherQinQ = 0x88a8 // IEEE 802.1ad
)

// Opcodes of TFTP (RFC 1350, RFC 2347).
const (
	tftpRead  = 1
	tftpWrite = 2
	tftpData  = 3
	tftpAck   = 4
	tftpError = 5
	tftpOack  = 6
)

const (
	portServer     = 67
	portClient     = 68
	portTFTP       = 69
	portBootServer = 4011
)

// methods are the first four octets of the requests that are kept.
var methods = []string{"GET ", "HEAD", "POST", "PUT ", "DELE", "OPTI"}

// program is a filter under construction, with jumps to labels.
type program struct {
	ins    []bpf.Instruction
	labels map[string]int
	jumps  map[int][2]string
}

func (p *program) add(ins ...bpf.Instruction) { p.ins = append(p.ins, ins...) }

func (p *program) label(name string) { p.labels[name] = len(p.ins) }

// jump goes on at label yes or no; an empty one is the next instruction.
func (p *program) jump(cond bpf.JumpTest, val uint32, yes, no string) {
	p.jumps[len(p.ins)] = [2]string{yes, no}
	p.add(bpf.JumpIf{Cond: cond, Val: val})
}

func (p *program) equal(val uint32, yes string) { p.jump(bpf.JumpEqual, val, yes, "") }

// resolve returns the instructions with every label replaced by its distance.
func (p *program) resolve() ([]bpf.Instruction, error) {
	for at, to := range p.jumps {
		j := p.ins[at].(bpf.JumpIf)
		for i, skip := range []*uint8{&j.SkipTrue, &j.SkipFalse} {
			if to[i] == "" {
				continue
			}
			target, ok := p.labels[to[i]]
			distance := target - at - 1
			if !ok || distance < 0 || distance > math.MaxUint8 {
				return nil, fmt.Errorf("packet filter: no way from %d to %q", at, to[i])
			}
			*skip = uint8(distance)
		}
		p.ins[at] = j
	}
	return p.ins, nil
}

// word is a four-octet text as a load of the filter sees it.
func word(s string) uint32 {
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}

// guard is the part of the filter that asks the kernel about the packet rather
// than looking into it: what is meant for other hosts (heard when someone else
// has made the interface promiscuous, or on a bridge) is dropped.
func guard() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: packetMulticast, SkipFalse: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOutgoing, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// selection is the part that looks into an Ethernet frame. X is the offset of
// the network header, then of the transport header, then of the HTTP message.
// The order is that of bulk traffic: a full TCP segment is dropped after about
// twenty instructions.
func selection(httpPort uint16) ([]bpf.Instruction, error) {
	p := &program{labels: map[string]int{}, jumps: map[int][2]string{}}
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 14}, bpf.LoadAbsolute{Off: 12, Size: 2})
	p.equal(etherIPv4, "ip")
	p.equal(etherARP, "head")
	p.equal(etherVLAN, "tagged")
	p.jump(bpf.JumpEqual, etherQinQ, "", "drop")
	p.label("tagged")
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 18}, bpf.LoadAbsolute{Off: 16, Size: 2})
	p.equal(etherARP, "head")
	p.jump(bpf.JumpEqual, etherIPv4, "", "drop")

	p.label("ip")
	p.add(bpf.LoadIndirect{Off: 6, Size: 2}) // flags and fragment offset
	p.jump(bpf.JumpBitsSet, 0x1fff, "drop", "")
	p.add(bpf.LoadIndirect{Off: 9, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0}) // protocol
	p.add(bpf.LoadIndirect{Off: 0, Size: 1})                                        // header length in words
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	p.add(bpf.LoadScratch{Dst: bpf.RegA, N: 0})
	p.equal(17, "udp")
	p.jump(bpf.JumpEqual, 6, "", "drop")

	p.add(bpf.LoadIndirect{Off: 0, Size: 2})
	p.equal(uint32(httpPort), "boot")
	p.add(bpf.LoadIndirect{Off: 2, Size: 2})
	p.jump(bpf.JumpEqual, uint32(httpPort), "", "drop")
	p.label("boot")
	p.add(bpf.LoadIndirect{Off: 13, Size: 1})
	p.jump(bpf.JumpBitsSet, 0x07, "head", "")                                                                 // FIN, SYN, RST
	p.add(bpf.LoadIndirect{Off: 12, Size: 1})                                                                 // header length in words, upper half
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2}) // in octets
	p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	p.add(bpf.LoadIndirect{Off: 0, Size: 4})
	for _, m := range methods {
		p.equal(word(m), "head")
	}
	p.jump(bpf.JumpEqual, word("HTTP"), "", "drop")
	p.add(bpf.LoadIndirect{Off: 3, Size: 4})
	p.jump(bpf.JumpEqual, word("P/1."), "head", "drop")

	p.label("udp")
	for _, off := range []uint32{0, 2} {
		p.add(bpf.LoadIndirect{Off: off, Size: 2})
		for _, port := range []uint32{portServer, portClient, portBootServer} {
			p.equal(port, "whole")
		}
	}
	p.equal(portTFTP, "request") // the destination port is loaded still
	p.add(bpf.LoadIndirect{Off: 8, Size: 2})
	p.jump(bpf.JumpLessThan, tftpData, "drop", "opcode")
	p.label("request") // a server may keep to port 69 for the whole transfer, so the rest counts there too
	p.add(bpf.LoadIndirect{Off: 8, Size: 2})
	p.equal(tftpRead, "head")
	p.equal(tftpWrite, "head")
	p.jump(bpf.JumpLessThan, tftpData, "drop", "")
	p.label("opcode")
	p.jump(bpf.JumpGreaterThan, tftpOack, "drop", "")
	p.jump(bpf.JumpGreaterOrEqual, tftpError, "head", "")
	p.add(bpf.LoadIndirect{Off: 10, Size: 2}) // block
	p.jump(bpf.JumpLessOrEqual, firstBlocks, "head", "")
	p.jump(bpf.JumpBitsSet, 0xff, "drop", "head")

	p.label("drop")
	p.add(bpf.RetConstant{Val: 0})
	p.label("head")
	p.add(bpf.RetConstant{Val: snapRest})
	p.label("whole")
	p.add(bpf.RetConstant{Val: snapDHCP})
	return p.resolve()
}

// assembled is the whole filter in the kernel's form.
func assembled(httpPort uint16) ([]bpf.RawInstruction, error) {
	s, err := selection(httpPort)
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(append(guard(), s...))
	if err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	return raw, nil
}
