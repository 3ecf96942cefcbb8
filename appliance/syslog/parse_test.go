package syslog

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	long := strings.Repeat("ä", MaxLine)
	for _, c := range []struct{ name, in, want string }{
		{"RFC 3164", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "su: 'su root' failed"},
		{"with a process", "<13>Feb  5 17:32:18 10.0.0.99 anaconda[1234]: starting", "anaconda: starting"},
		{"busybox, no host", "<13>Jan  1 00:00:01 root: hello", "root: hello"},
		{"rsyslog time", "<30>2024-05-01T10:00:00.123456+02:00 node1 systemd[1]: Started x.", "systemd: Started x."},
		{"time without zone is none", "<30>2024-05-01T10:00:00 x", "2024-05-01T10:00:00 x"},
		{"no time", "<13>main-menu[320]: INFO: Menu item 'netcfg' selected", "main-menu: INFO: Menu item 'netcfg' selected"},
		{"no priority", "debootstrap: done", "debootstrap: done"},
		{"nothing but text", "hello world", "hello world"},
		{"a colon in the text", "<13>see http://x/y: no", "see http://x/y: no"},
		{"a path as tag", "<13>/usr/bin/apt-get: fetched", "/usr/bin/apt-get: fetched"},
		{"host and no tag", "<13>Oct 11 22:14:15 host just text", "host just text"},
		{"kernel console", "<6>[    1.234567] e1000: link up", "kernel: e1000: link up"},
		{"RFC 5424", `<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 111 ID47 - An event`, "evntslog: An event"},
		{"RFC 5424 with data", `<165>1 2003-10-11T22:14:15.003Z host app - ID47 [a@1 iut="3" x="\]\""][b@2 y="]"] ` + "\ufeffAn event", "app: An event"},
		{"RFC 5424, all missing", "<165>1 - - - - - - text", "text"},
		{"RFC 5424, data alone", `<165>1 - - app - - [a@1 x="y"]`, `app: [a@1 x="y"]`},
		{"RFC 5424, no data where it must be", "<165>1 - - app - - text", "app: text"},
		{"RFC 5424, broken data", `<165>1 - - app - - [a x="y`, `app: [a x="y`},
		{"RFC 5424, nothing", "<165>1 - - - - - -", ""},
		{"version without priority", "1 - - app - - - text", "1 - - app - - - text"},
		{"bad priority", "<1234>x: y", "<1234>x: y"},
		{"empty priority", "<>x: y", "<>x: y"},
		{"only a priority", "<13>", ""},
		{"empty", "", ""},
		{"line end", "<13>x: y\r\n\x00", "x: y"},
		{"control characters", "<13>x: a\x07b\x00c\x7fd\u0085e", "x: a\ufffdb\ufffdc\ufffdd\ufffde"},
		{"forged line", "<13>x: a\nlevel=ERROR forged", "x: a level=ERROR forged"},
		{"colours", "<13>x: \x1b[31;1mred\x1b[0m", "x: red"},
		{"window title", "<13>x: \x1b]0;owned\x07after", "x: after"},
		{"window title, other end", "<13>x: \x1b]0;owned\x1b\\after", "x: after"},
		{"window title without end", "<13>x: \x1b]0;text", "x: ]0;text"},
		{"broken sequence", "<13>x: \x1b[31\x01z", "x: \ufffdz"},
		{"escape at the end", "<13>x: y\x1b", "x: y"},
		{"C1 sequence", "<13>x: \u009b31mred", "x: \ufffd31mred"},
		{"turned round", "<13>x: \u202egnp.exe", "x: \ufffdgnp.exe"},
		{"invisible", "<13>x: a\u200bb\u2028c", "x: a\ufffdb\ufffdc"},
		{"no UTF-8", "<13>x: \xff\xfe", "x: \ufffd\ufffd"},
		{"long", "<13>x: " + long, "x: " + strings.Repeat("ä", (MaxLine-3)/2)},
		{"long tag", "<13>" + strings.Repeat("t", 60) + ": x", strings.Repeat("t", 60) + ": x"},
	} {
		m, ok := Parse([]byte(c.in))
		if got := m.String(); got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", c.name, got, ok, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"<34>Oct 11 22:14:15 mymachine su: failed", `<165>1 - - app - - [a@1 x="\]"] x`, "<6>[ 1.2] y", "\x1b[31mx", "\x1b]0;x", "<13>a[1]: b", "\u202e\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		m, ok := Parse(b)
		s := m.String()
		if !bytes.Equal(was, b) {
			t.Error("the line was written to")
		}
		if len(s) > MaxLine || !utf8.ValidString(s) || ok == (m.Text == "") {
			t.Errorf("%q, %v", s, ok)
		}
		for _, c := range s {
			if !unicode.IsPrint(c) && c != utf8.RuneError {
				t.Errorf("%q has %q", s, c)
			}
		}
	})
}

func all(l *lines) (out []string, err error) {
	for {
		b, err := l.next()
		if err != nil {
			return out, err
		}
		out = append(out, string(b))
	}
}

func TestFraming(t *testing.T) {
	for _, c := range []struct {
		name, in, want string // lines joined by "|"
		err            error
	}{
		{"lines", "<1>a\n<2>b\n", "<1>a|<2>b", io.EOF},
		{"last line without end", "<1>a\n<2>b", "<1>a|<2>b", io.EOF},
		{"zero octets", "<1>a\x00<2>b\x00", "<1>a|<2>b", io.EOF},
		{"counted", "4 <1>a6 <2>b\nc", "<1>a|<2>b\nc", io.EOF},
		{"mixed", "4 <1>a<2>b\n5 <3>cd", "<1>a|<2>b|<3>cd", io.EOF},
		{"counted and a line feed after each", "4 <1>a\n4 <2>b\n", "<1>a||<2>b|", io.EOF},
		{"numbers that count nothing", "12 monkeys\n0 <1>x\n", "12 monkeys|0 <1>x", io.EOF},
		{"counted, cut off", "40 <1>a", "", io.EOF},
		{"a number at the end", "12", "12", io.EOF},
		{"count of nonsense", "99999999 <1>a", "", errFrame},
		{"number too long for a count", "123456789 <1>a\n", "123456789 <1>a", io.EOF},
		{"long line", strings.Repeat("x", 9000) + "\ny\n", strings.Repeat("x", 2*MaxLine) + "|y", io.EOF},
		{"long counted", "9000 <" + strings.Repeat("x", 8999) + "4 <1>a", "<" + strings.Repeat("x", 2*MaxLine-1) + "|<1>a", io.EOF},
		{"nothing", "", "", io.EOF},
	} {
		for _, in := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			got, err := all(newLines(in))
			if s := strings.Join(got, "|"); s != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s: %q, %v; want %q, %v", c.name, s, err, c.want, c.err)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := newLines(iotest.ErrReader(broken)).next(); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func FuzzFraming(f *testing.F) {
	f.Add([]byte("4 <1>a6 <2>b\nc<3>d\n"))
	f.Add([]byte("99999999 <"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := all(newLines(bytes.NewReader(b)))
		if !errors.Is(err, io.EOF) && !errors.Is(err, errFrame) {
			t.Fatal(err)
		}
		n := 0
		for _, s := range got {
			if n += len(s); len(s) > 2*MaxLine {
				t.Errorf("%d octets", len(s))
			}
		}
		if n > len(b) {
			t.Errorf("%d octets out of %d", n, len(b))
		}
	})
}
