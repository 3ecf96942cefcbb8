package pxesim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TFTPOption is one option of a read request (RFC 2347).
type TFTPOption struct {
	// Name is sent as written; servers must compare without case.
	Name string
	// Value is decimal text.
	Value string
}

// TFTPHabits says how one firmware uses TFTP.
type TFTPHabits struct {
	// Probe are the options of a first request that only asks for the size and is then aborted.
	// Nil means no probe.
	Probe []TFTPOption
	// AbortCode and AbortText are the ERROR that ends the probe.
	AbortCode uint16
	// AbortText is the text of that ERROR.
	AbortText string
	// Get are the options of the transfer.
	Get []TFTPOption
	// Waits are the times after each transmission of one packet; their number is the number of tries.
	Waits []time.Duration
	// StrictOACK applies EDK2's rules: nothing that was not asked, nothing larger than asked.
	StrictOACK bool
	// NeedTsize fails a probe whose answer lacks the size (EDK2).
	NeedTsize bool
	// AckTwice sends every acknowledgement twice (the habit behind Sorcerer's Apprentice).
	AckTwice bool
	// AckPadding adds that many bytes to every acknowledgement (Raspberry Pi 5).
	AckPadding int
	// NoRollover fails when the block number would wrap (Raspberry Pi 4 before September 2025).
	NoRollover bool
	// IgnoreOACK asks for options and then behaves as if none had been granted, acknowledging
	// nothing but data (the firmware behind dnsmasq's --tftp-no-blocksize).
	IgnoreOACK bool
	// LosesAbove: blocks with more octets than this never arrive, whatever was agreed on: a path
	// that drops large packets (tunnels, broken fragmentation), or a receive buffer of that size. 0
	// loses nothing.
	LosesAbove int
}

func tftpBIOS() TFTPHabits {
	return TFTPHabits{
		Probe: []TFTPOption{{"tsize", "0"}}, AbortCode: 0, AbortText: "TFTP Aborted",
		Get: []TFTPOption{{"blksize", "1456"}}, Waits: seconds(4, 4, 4, 4, 4),
	}
}

// tftpEDK2: waits from PXEBC_MTFTP_TIMEOUT and PXEBC_MTFTP_RETRIES. windowsize since September 2018.
func tftpEDK2(window bool) TFTPHabits {
	h := TFTPHabits{
		Probe: []TFTPOption{{"tsize", "0"}, {"blksize", "1468"}}, AbortCode: 8, AbortText: "User aborted the transfer",
		Get: []TFTPOption{{"blksize", "1468"}}, Waits: seconds(4, 4, 4, 4, 4, 4), StrictOACK: true, NeedTsize: true,
	}
	if window {
		h.Probe = append(h.Probe, TFTPOption{"windowsize", "4"})
		h.Get = append(h.Get, TFTPOption{"windowsize", "4"})
	}
	return h
}

func tftpIPXE() TFTPHabits {
	return TFTPHabits{
		Get:   []TFTPOption{{"blksize", "1432"}, {"tsize", "0"}},
		Waits: seconds(0.25, 0.5, 1, 2, 4, 8),
	}
}

func tftpPi3() TFTPHabits { return TFTPHabits{Waits: seconds(5, 5, 5, 5, 5)} }

func tftpPi4() TFTPHabits {
	return TFTPHabits{
		Probe: []TFTPOption{{"tsize", "0"}, {"blksize", "1024"}}, AbortCode: 0, AbortText: "Early terminate",
		Get: []TFTPOption{{"tsize", "0"}, {"blksize", "1024"}}, Waits: seconds(5, 5, 5, 5, 5, 5), NoRollover: true,
	}
}

// TFTPFailure is why a transfer failed.
type TFTPFailure int

// The kinds of failure.
const (
	// TFTPNoAnswer: nothing ever came back.
	TFTPNoAnswer TFTPFailure = iota + 1
	// TFTPStalled: the server went silent in the middle.
	TFTPStalled
	// TFTPRefused: the server sent ERROR.
	TFTPRefused
	// TFTPProtocol: the server's answer breaks the client's rules.
	TFTPProtocol
	// TFTPTooLarge: the file exceeds the caller's bound.
	TFTPTooLarge
)

// TFTPError is a failed probe or transfer.
type TFTPError struct {
	// Failure is the kind.
	Failure TFTPFailure
	// Probe tells whether it happened in the size probe.
	Probe bool
	// Code is the server's error code if Failure is TFTPRefused.
	Code uint16
	// Detail is the server's text, or what rule was broken.
	Detail string
}

// Error implements error.
func (e *TFTPError) Error() string {
	stage := "transfer"
	if e.Probe {
		stage = "size probe"
	}
	switch e.Failure {
	case TFTPNoAnswer:
		return "tftp " + stage + ": no answer"
	case TFTPStalled:
		return "tftp " + stage + ": server went silent"
	case TFTPRefused:
		return fmt.Sprintf("tftp %s: server sent error %d %q", stage, e.Code, e.Detail)
	case TFTPTooLarge:
		return "tftp " + stage + ": file too large: " + e.Detail
	default:
	}
	return "tftp " + stage + ": " + e.Detail
}

// Download is what became of one file, by whatever protocol.
type Download struct {
	// Bytes is the length of the content.
	Bytes int64
	// SHA256 is its hash in hexadecimal.
	SHA256 string
	// Head is the start of the content, at most Keep bytes of it.
	Head []byte
	// Took is the time from the first request to the last byte, the probe included.
	Took time.Duration
	// BlockSize and Window are the negotiated TFTP values (512 and 1 if nothing was).
	BlockSize, Window int
	// ProbedSize is what the TFTP size probe or the HTTP HEAD said; -1 if neither was told.
	ProbedSize int64
	// Retransmits counts the client's own repetitions.
	Retransmits int
	// Duplicates counts DATA blocks received again.
	Duplicates int
	// ContentType is HTTP's.
	ContentType string
}

// sink counts, hashes and keeps the first bytes.
type sink struct {
	n, limit int64
	keep     int
	head     []byte
	sum      hash.Hash
}

func newSink(limit int64, keep int) *sink { return &sink{limit: limit, keep: keep, sum: sha256.New()} }

// errTooLarge is returned by Write past the limit.
var errTooLarge = errors.New("too large")

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	if s.n+int64(len(b)) > s.limit {
		return 0, errTooLarge
	}
	s.n += int64(len(b))
	if room := s.keep - len(s.head); room > 0 {
		s.head = append(s.head, b[:min(room, len(b))]...)
	}
	s.sum.Write(b)
	return len(b), nil
}

func (s *sink) download() Download {
	return Download{Bytes: s.n, SHA256: hex.EncodeToString(s.sum.Sum(nil)), Head: s.head, ProbedSize: -1}
}

// TFTP opcodes (RFC 1350, RFC 2347).
const (
	tftpRRQ   = 1
	tftpDATA  = 3
	tftpACK   = 4
	tftpERROR = 5
	tftpOACK  = 6
)

// TFTPClient fetches files the way one firmware does.
type TFTPClient struct {
	// Habits are the firmware's.
	Habits TFTPHabits
	// Listen opens the local endpoint of each request.
	Listen func(ctx context.Context) (net.PacketConn, error)
	// MaxBytes bounds a file; Keep is how much of it is returned.
	MaxBytes int64
	// Keep is the length of Download.Head.
	Keep int
}

// Get asks for one file: the probe if the firmware makes one, then the transfer. Name is sent byte
// by byte. Errors are *TFTPError, ctx's, or those of the endpoint.
func (c *TFTPClient) Get(ctx context.Context, server netip.AddrPort, name []byte) (Download, error) {
	began := time.Now()
	probed, repeats := int64(-1), 0
	if c.Habits.Probe != nil {
		d, err := c.request(ctx, server, name, true)
		if err != nil {
			d.Took = time.Since(began)
			return d, err
		}
		probed, repeats = d.ProbedSize, d.Retransmits
	}
	d, err := c.request(ctx, server, name, false)
	if probed >= 0 {
		d.ProbedSize = probed
	}
	d.Retransmits += repeats
	d.Took = time.Since(began)
	return d, err
}

// transfer is one request in progress.
type transfer struct {
	c      *TFTPClient
	probe  bool
	conn   net.PacketConn
	server netip.AddrPort
	peer   netip.AddrPort
	asked  []TFTPOption
	last   []byte
	sink   *sink
	out    Download
	// next is the number of the block expected, counted without wrapping.
	next int64
	// unacked counts blocks since the last acknowledgement, gap says a hole was already reported.
	unacked int
	gap     bool
}

func (c *TFTPClient) request(ctx context.Context, server netip.AddrPort, name []byte, probe bool) (Download, error) {
	conn, err := c.Listen(ctx)
	if err != nil {
		return Download{ProbedSize: -1}, fmt.Errorf("open tftp endpoint: %w", err)
	}
	defer conn.Close()
	// Closing is what wakes a pending read when the caller gives up.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	t := &transfer{
		c: c, probe: probe, conn: conn, server: server, sink: newSink(c.MaxBytes, c.Keep), next: 1,
		out: Download{BlockSize: 512, Window: 1, ProbedSize: -1},
	}
	t.asked = c.Habits.Get
	if probe {
		t.asked = c.Habits.Probe
	}
	rrq := []byte{0, tftpRRQ}
	rrq = append(append(rrq, cutNUL(name)...), 0)
	rrq = append(append(rrq, "octet"...), 0)
	for _, o := range t.asked {
		rrq = append(append(rrq, o.Name...), 0)
		rrq = append(append(rrq, o.Value...), 0)
	}
	err = t.run(ctx, rrq)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	d := t.sink.download()
	d.BlockSize, d.Window, d.ProbedSize = t.out.BlockSize, t.out.Window, t.out.ProbedSize
	d.Retransmits, d.Duplicates = t.out.Retransmits, t.out.Duplicates
	return d, err
}

func (t *transfer) fail(f TFTPFailure, detail string) error {
	return &TFTPError{Failure: f, Probe: t.probe, Detail: detail}
}

// abort tells the server and fails.
func (t *transfer) abort(f TFTPFailure, detail string) error {
	t.sendError(8, "Terminated by the client")
	return t.fail(f, detail)
}

func (t *transfer) send(b []byte) error {
	t.last = b
	to := t.peer
	if !to.IsValid() {
		to = t.server
	}
	_, err := t.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return fmt.Errorf("send tftp packet to %v: %w", to, err)
	}
	return nil
}

func (t *transfer) sendError(code uint16, text string) {
	b := binary.BigEndian.AppendUint16([]byte{0, tftpERROR}, code)
	b = append(append(b, text...), 0)
	last := t.last
	// The transfer is over for this side: nothing to do about a failed send.
	_ = t.send(b)
	t.last = last
}

func (t *transfer) ack(block uint16) error {
	b := binary.BigEndian.AppendUint16([]byte{0, tftpACK}, block)
	b = append(b, make([]byte, t.c.Habits.AckPadding)...)
	t.unacked = 0
	if t.c.Habits.AckTwice {
		if err := t.send(b); err != nil {
			return err
		}
	}
	return t.send(b)
}

// errDone ends run without an error.
var errDone = errors.New("done")

func (t *transfer) run(ctx context.Context, rrq []byte) error {
	if err := t.send(rrq); err != nil {
		return err
	}
	buf := make([]byte, 65536)
	try := 0
	deadline := time.Now().Add(t.c.Habits.Waits[0])
	for {
		if err := t.conn.SetReadDeadline(deadline); err != nil {
			return fmt.Errorf("set tftp deadline: %w", err)
		}
		n, from, err := t.conn.ReadFrom(buf)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			try++
			if try >= len(t.c.Habits.Waits) {
				if t.peer.IsValid() {
					return t.fail(TFTPStalled, "")
				}
				return t.fail(TFTPNoAnswer, "")
			}
			t.out.Retransmits++
			deadline = time.Now().Add(t.c.Habits.Waits[try])
			if err := t.send(t.last); err != nil {
				return err
			}
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			return fmt.Errorf("receive tftp packet: %w", err)
		}
		ua, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}
		src := netip.AddrPortFrom(ua.AddrPort().Addr().Unmap(), ua.AddrPort().Port())
		// The first answer may come from any port of the server; from then on only that port counts.
		if src.Addr() != t.server.Addr() || (t.peer.IsValid() && src != t.peer) {
			continue
		}
		if most := t.c.Habits.LosesAbove; most > 0 && n > most+4 && binary.BigEndian.Uint16(buf[:]) == tftpDATA {
			continue
		}
		progress, err := t.handle(src, buf[:n])
		if errors.Is(err, errDone) {
			return nil
		}
		if err != nil {
			return err
		}
		if progress {
			try = 0
			deadline = time.Now().Add(t.c.Habits.Waits[0])
		}
	}
}

// handle takes one packet of the server. It reports whether the transfer moved.
func (t *transfer) handle(src netip.AddrPort, b []byte) (bool, error) {
	if len(b) < 4 {
		return false, nil
	}
	switch binary.BigEndian.Uint16(b) {
	case tftpERROR:
		return false, &TFTPError{
			Failure: TFTPRefused, Probe: t.probe, Code: binary.BigEndian.Uint16(b[2:]),
			Detail: clip(cutNUL(b[4:]), 80),
		}
	case tftpOACK:
		t.peer = src
		return t.oack(b[2:])
	case tftpDATA:
		t.peer = src
		return t.data(binary.BigEndian.Uint16(b[2:]), b[4:])
	}
	return false, nil
}

func (t *transfer) oack(b []byte) (bool, error) {
	if t.next != 1 {
		return false, nil // late repetition
	}
	if t.c.Habits.IgnoreOACK {
		return false, nil
	}
	block, window, size, err := readOACK(b, t.asked, t.c.Habits.StrictOACK)
	if err != nil {
		return false, t.abort(TFTPProtocol, err.Error())
	}
	t.out.BlockSize, t.out.Window, t.out.ProbedSize = block, window, size
	if t.probe {
		t.sendError(t.c.Habits.AbortCode, t.c.Habits.AbortText)
		if size < 0 && t.c.Habits.NeedTsize {
			return false, t.fail(TFTPProtocol, "no tsize in the answer to the size probe")
		}
		return true, errDone
	}
	if size > t.c.MaxBytes {
		return false, t.abort(TFTPTooLarge, strconv.FormatInt(size, 10)+" bytes")
	}
	return true, t.ack(0)
}

// readOACK applies the client's rules to the options of an OACK (RFC 2347). It returns block size,
// window and size (-1 if not told).
func readOACK(b []byte, asked []TFTPOption, strict bool) (block, window int, size int64, err error) {
	block, window, size = 512, 1, -1
	fields := bytes.Split(b, []byte{0})
	// A well-formed list ends with NUL, which leaves one empty field.
	for i := 0; i+1 < len(fields) && i < 32; i += 2 {
		if len(fields[i]) == 0 {
			break
		}
		name, value := strings.ToLower(clip(fields[i], 40)), string(fields[i+1])
		at := slices.IndexFunc(asked, func(o TFTPOption) bool { return strings.EqualFold(o.Name, name) })
		if at < 0 {
			if strict {
				return 0, 0, 0, fmt.Errorf("option %q was not asked for", name)
			}
			continue
		}
		v, perr := strconv.ParseInt(value, 10, 64)
		if perr != nil || v < 0 {
			if strict {
				return 0, 0, 0, fmt.Errorf("option %q has value %q", name, clip(fields[i+1], 40))
			}
			continue
		}
		want, _ := strconv.ParseInt(asked[at].Value, 10, 64)
		switch name {
		case "blksize":
			// A larger block than asked for cannot be received by anybody.
			if v < 8 || v > want {
				return 0, 0, 0, fmt.Errorf("blksize %d where %d was asked for", v, want)
			}
			block = int(v)
		case "windowsize":
			if v < 1 || v > want {
				return 0, 0, 0, fmt.Errorf("windowsize %d where %d was asked for", v, want)
			}
			window = int(v)
		case "timeout":
			if v != want && strict {
				return 0, 0, 0, fmt.Errorf("timeout %d where %d was asked for", v, want)
			}
		case "tsize":
			size = v
		}
	}
	return block, window, size, nil
}

func (t *transfer) data(block uint16, b []byte) (bool, error) {
	if t.probe {
		// The server knows no options: its first block is all the probe gets.
		t.sendError(t.c.Habits.AbortCode, t.c.Habits.AbortText)
		if t.c.Habits.NeedTsize {
			return false, t.fail(TFTPProtocol, "no tsize in the answer to the size probe")
		}
		return true, errDone
	}
	if block != uint16(t.next) {
		back := uint16(t.next) - block
		if back > 0 && back < 0x8000 {
			t.out.Duplicates++
		}
		if t.gap {
			return false, nil
		}
		// Repeating the last acknowledgement is what firmware does with any block it did not
		// expect; once per hole, or a window would multiply.
		t.gap = true
		return false, t.ack(uint16(t.next - 1))
	}
	if len(b) > t.out.BlockSize {
		return false, t.abort(TFTPProtocol, fmt.Sprintf("block of %d bytes where %d were agreed", len(b), t.out.BlockSize))
	}
	if t.c.Habits.NoRollover && t.next > 65535 {
		return false, t.abort(TFTPProtocol, "block number wrapped")
	}
	if _, err := t.sink.Write(b); err != nil {
		return false, t.abort(TFTPTooLarge, fmt.Sprintf("more than %d bytes", t.sink.limit))
	}
	t.next++
	t.unacked++
	t.gap = false
	if len(b) < t.out.BlockSize {
		if err := t.ack(block); err != nil {
			return false, err
		}
		return true, errDone
	}
	if t.unacked >= t.out.Window {
		return true, t.ack(block)
	}
	return true, nil
}

// clip shows bytes of a stranger as printable text, shortened.
func clip(b []byte, n int) string {
	s := strconv.QuoteToASCII(string(b[:min(len(b), n)]))
	return s[1 : len(s)-1]
}
