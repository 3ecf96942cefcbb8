package pxesim

import (
	"net/netip"
	"time"
)

// StepKind names one observable moment of a boot.
type StepKind string

// The kinds, in the order in which they can appear.
const (
	// StepDiscover: a DISCOVER was sent.
	StepDiscover StepKind = "discover"
	// StepOffer: a reply to it arrived.
	StepOffer StepKind = "offer"
	// StepIgnored: a packet for this client was thrown away.
	StepIgnored StepKind = "ignored"
	// StepChosen: the firmware chose among the offers.
	StepChosen StepKind = "chosen"
	// StepWaiting: a wait ended without a usable choice.
	StepWaiting StepKind = "waiting"
	// StepRequest: REQUEST to the DHCP server.
	StepRequest StepKind = "request"
	// StepNoRequest: the REQUEST was left out, this being a probe.
	StepNoRequest StepKind = "no-request"
	// StepACK: the DHCP server's ACK.
	StepACK StepKind = "ack"
	// StepNAK: the DHCP server's NAK.
	StepNAK StepKind = "nak"
	// StepAsk: a REQUEST to port 4011 or to a boot server.
	StepAsk StepKind = "ask"
	// StepAnswer: its ACK.
	StepAnswer StepKind = "answer"
	// StepMenu: the firmware shows or skips a PXE menu.
	StepMenu StepKind = "menu"
	// StepFetch: a download begins.
	StepFetch StepKind = "fetch"
	// StepFetched: a download is complete.
	StepFetched StepKind = "fetched"
	// StepFetchFailed: a download failed.
	StepFetchFailed StepKind = "fetch-failed"
	// StepScript: the download is an iPXE script.
	StepScript StepKind = "script"
	// StepVerdict: the end.
	StepVerdict StepKind = "verdict"
)

// Step is one observable moment of a boot.
type Step struct {
	// At is the time since the client started.
	At time.Duration
	// Kind is what happened.
	Kind StepKind
	// Peer is the other side, if there is one.
	Peer netip.AddrPort
	// Class is what an offer was taken for.
	Class Class
	// Text is a sentence for people. Bytes of strangers in it are escaped.
	Text string
	// Bytes and Took belong to downloads.
	Bytes int64
	// Took is the duration of a download.
	Took time.Duration
}

// Outcome is how a boot ended.
type Outcome struct {
	// OK: the firmware has what it wanted: its program, or a script.
	OK bool
	// Code is the firmware's error, empty if OK.
	Code Code
	// Verdict is a sentence about the end.
	Verdict string
	// File is the name or URL of the last download, escaped.
	File string
	// Server is the boot server that was used.
	Server netip.Addr
	// Download is the last download.
	Download Download
	// Script tells whether it is an iPXE script.
	Script bool
}
