package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Boot describes one client to start.
type Boot struct {
	// Row names the client within the site and in files; its hardware address
	// comes from it.
	Row    string
	Client Client
	Accel  Accel
	// Newer is where newer firmware was unpacked; see [FindFirmware].
	Newer string
	Link  Link
	// Far puts the client on the subnet behind the relay.
	Far bool
	// Disk, if not empty, is a raw disk image that the machine has, and boots after
	// the network. What is written to it stays.
	Disk string
	// SerialNumber is what SMBIOS says; empty is QEMU's default, which is none.
	SerialNumber string
	// MemoryMB is how much it has; zero is 1024.
	MemoryMB int
	// DropClass is passed to the client's [Rewriter].
	DropClass string
	// OnMark hears every step as the decoder sees it; it must not block.
	OnMark func(Mark)
}

// Guest is a running QEMU with its console and its cable.
type Guest struct {
	Console *Console
	Shim    *Shim
	MAC     net.HardwareAddr
	// Started is when QEMU was started: power-on.
	Started time.Time

	proc   *Proc
	qmp    *qmp
	serial net.Conn
	row    string
	once   sync.Once
}

// Boot switches a client on. It ends with the site at the latest. A row that was
// on before is the same machine again: hardware address, UUID, firmware variables
// and what is on its disk.
func (s *Site) Boot(ctx context.Context, b Boot) (*Guest, error) {
	g := guest{client: b.Client, accel: b.Accel, mac: MACFor(b.Row), uuid: UUIDFor(b.Row), memoryMB: 1024}
	g.second, g.serialNo = b.Disk, b.SerialNumber
	if b.MemoryMB > 0 {
		g.memoryMB = b.MemoryMB
	}
	files, err := FindFirmware(b.Client.Firmware, b.Newer)
	if err != nil {
		return nil, err
	}
	if b.Client.Firmware.uefi() {
		if err := prepareVars(&g, files, s.dir, fileName(b.Row)); err != nil {
			return nil, err
		}
	} else {
		g.sercon = s.file("sercon")
		if err := os.WriteFile(g.sercon, []byte{0xf8, 3, 0, 0, 0, 0, 0, 0}, 0o644); err != nil {
			return nil, fmt.Errorf("SeaBIOS console: %w", err)
		}
	}
	bridge := "br0"
	if b.Far {
		bridge = "br1"
	}
	return s.startGuest(ctx, b.Row, g, bridge, b.Link, &Rewriter{PlainBIOS: b.Client.PlainBIOS, DropClass: b.DropClass}, b.OnMark)
}

func (s *Site) startGuest(ctx context.Context, row string, g guest, bridge string, link Link, rw *Rewriter, onMark func(Mark)) (_ *Guest, err error) {
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	// Socket paths are limited to 107 bytes: short names, by number.
	port := s.port()
	listen := func(kind string) (*net.UnixListener, string, error) {
		path := s.file(port + "." + kind)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return nil, "", fmt.Errorf("socket for QEMU: %w", err)
		}
		undo = append(undo, func() { _ = l.Close() })
		return l, path, nil
	}
	netL, netPath, err := listen("net")
	if err != nil {
		return nil, err
	}
	serL, serPath, err := listen("serial")
	if err != nil {
		return nil, err
	}
	g.net, g.serial, g.qmp = netPath, serPath, s.file(port+".qmp")
	tap, err := s.lan.tap(port, bridge)
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = tap.Close() })
	name := s.powerOn(row)
	log, err := os.Create(filepath.Join(s.logs, name+".serial.log"))
	if err != nil {
		return nil, fmt.Errorf("serial log: %w", err)
	}
	undo = append(undo, func() { _ = log.Close() })

	m := &Guest{MAC: g.mac, Console: NewConsole(log), row: name, Started: time.Now()}
	if m.proc, err = start(nil, s.logs, name+".qemu", g.args()...); err != nil {
		return nil, err
	}
	undo = append(undo, func() { m.proc.Stop(time.Second) })
	// QEMU connects its character devices before its network, both before the
	// guest runs.
	if m.serial, err = acceptQEMU(serL, "the serial line", m.proc, 15*time.Second); err != nil {
		return nil, err
	}
	undo = append(undo, func() { _ = m.serial.Close() })
	conn, err := acceptQEMU(netL, "the network card", m.proc, 15*time.Second)
	if err != nil {
		return nil, err
	}
	m.Shim = newShim(conn, tap, g.mac, link, rw, onMark)
	undo = append(undo, func() { _ = m.Shim.Close() })
	_ = netL.Close()
	_ = serL.Close()
	go func() {
		_, _ = io.Copy(m.Console, m.serial)
		_ = m.Console.Close()
		_ = log.Close()
	}()
	if m.qmp, err = dialQMP(ctx, g.qmp, m.proc); err != nil {
		return nil, err
	}
	s.log.Debug("client started", "row", row, "pid", m.proc.Pid(), "accel", string(g.accel))
	s.onClose(func() error { m.Stop(); return nil })
	return m, nil
}

// powerOn names one run of a machine in files: the second and later ones by
// number.
func (s *Site) powerOn(row string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boots == nil {
		s.boots = make(map[string]int)
	}
	s.boots[row]++
	if n := s.boots[row]; n > 1 {
		return fmt.Sprintf("%s-%d", fileName(row), n)
	}
	return fileName(row)
}

// WaitOff waits until the machine has switched itself off, or wanted to restart:
// QEMU is told not to.
func (m *Guest) WaitOff(ctx context.Context) error {
	select {
	case <-m.Exited():
		m.Stop() // unplug it
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the machine is still on: %w; it says:\n%s", context.Cause(ctx), m.Console.Tail(6))
	}
}

// Type writes to the serial line, as a person at a terminal would.
func (m *Guest) Type(text string) error {
	_, err := m.serial.Write([]byte(text))
	return err
}

// Keys presses keys on the keyboard, one after the other, named as QEMU names
// them ("ret", "down"); keys pressed together are joined by "-" ("shift-s").
func (m *Guest) Keys(names ...string) error {
	for _, n := range names {
		var keys []map[string]string
		for key := range strings.SplitSeq(n, "-") {
			keys = append(keys, map[string]string{"type": "qcode", "data": key})
		}
		if err := m.qmp.run("send-key", map[string]any{"keys": keys}); err != nil {
			return err
		}
	}
	return nil
}

// Screenshot writes what the screen shows as a PNG file. Machines without a
// screen return an error.
func (m *Guest) Screenshot(path string) error {
	return m.qmp.run("screendump", map[string]any{"filename": path, "format": "png"})
}

// Exited is closed when QEMU has ended, by itself or stopped.
func (m *Guest) Exited() <-chan struct{} { return m.proc.Done() }

// QEMUOutput is what QEMU itself wrote, for error messages.
func (m *Guest) QEMUOutput() string { return m.proc.Out.Tail(8) }

// Stop switches the machine off and unplugs it. It can be called again.
func (m *Guest) Stop() {
	m.once.Do(func() {
		if m.qmp != nil {
			m.qmp.close()
		}
		// Nothing a client holds is worth a clean shutdown.
		_ = m.proc.cmd.Process.Kill()
		<-m.proc.Done()
		_ = m.Shim.Close()
		_ = m.serial.Close()
	})
}

// Keep writes the evidence of a row to a directory: capture, timeline and, if
// there is a screen, a picture. The serial log is there already if the
// directory is the site's.
func (m *Guest) Keep(dir string) error {
	base := filepath.Join(dir, m.row)
	f, err := os.Create(base + ".pcap")
	if err != nil {
		return fmt.Errorf("keep capture: %w", err)
	}
	_, err = m.Shim.Ring.WriteTo(f)
	err = errors.Join(err, f.Close())
	var b strings.Builder
	for _, mark := range m.Shim.Timeline.Marks() {
		fmt.Fprintf(&b, "%8.3f %s\n", mark.At.Sub(m.Started).Seconds(), mark)
	}
	err = errors.Join(err, os.WriteFile(base+".timeline.txt", []byte(b.String()), 0o644),
		os.WriteFile(base+".serial.log", []byte(m.Console.String()), 0o644))
	_ = m.Screenshot(base + ".png") // there may be no screen, or no QEMU any more
	return err
}

// fileName makes a row's name usable as a file name.
func fileName(row string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, row)
}

// qmp is QEMU's control connection (QMP): one command at a time.
type qmp struct {
	mu   sync.Mutex
	conn net.Conn
	dec  *json.Decoder
}

func dialQMP(ctx context.Context, path string, p *Proc) (*qmp, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			q := &qmp{conn: conn, dec: json.NewDecoder(conn)}
			if err := q.greet(); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return q, nil
		}
		select {
		case <-tick.C:
		case <-p.Done():
			return nil, fmt.Errorf("control QEMU: it ended and said:\n%s", p.Out.Tail(12))
		case <-ctx.Done():
			return nil, fmt.Errorf("control QEMU: %w", err)
		}
	}
}

func (q *qmp) greet() error {
	if err := q.conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return err
	}
	var hello struct{ QMP json.RawMessage }
	if err := q.dec.Decode(&hello); err != nil {
		return fmt.Errorf("QMP greeting: %w", err)
	}
	return q.run("qmp_capabilities", nil)
}

// run executes a command and skips the events that come in between.
func (q *qmp) run(command string, args map[string]any) error {
	_, err := q.ask(command, args)
	return err
}

func (q *qmp) ask(command string, args map[string]any) (json.RawMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, fmt.Errorf("QMP %s: %w", command, err)
	}
	msg := map[string]any{"execute": command}
	if args != nil {
		msg["arguments"] = args
	}
	if err := json.NewEncoder(q.conn).Encode(msg); err != nil {
		return nil, fmt.Errorf("QMP %s: %w", command, err)
	}
	for {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
			Event string `json:"event"`
		}
		if err := q.dec.Decode(&answer); err != nil {
			return nil, fmt.Errorf("QMP %s: %w", command, err)
		}
		switch {
		case answer.Event != "":
		case answer.Error != nil:
			return nil, fmt.Errorf("QMP %s: %s", command, answer.Error.Desc)
		default:
			return answer.Return, nil
		}
	}
}

func (q *qmp) close() { _ = q.conn.Close() }
