package tftp

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/pin/tftp/v3"
)

// handler writes one file into the transfer it is given. It has the shape of
// pin/tftp's read handlers, so that another sender can take that library's place.
type handler func(rf io.ReaderFrom) error

// engine moves the blocks of one transfer over l. It reads the request from l,
// calls h with the transfer once, and returns when h has.
type engine interface {
	run(l *link, h handler)
	// request is what l has to give the engine first.
	request(t terms) []byte
	// floor is the smallest block size the engine can do.
	floor() int
}

// pinEngine runs a server of pin/tftp per transfer, in its single-port form: that is
// the one in which the library does all its input and output through a
// net.PacketConn of ours. What follows from reading its source (v3.2.0):
//
//   - It closes a transfer's channel while its reading loop may be about to send to
//     it, which panics. A link answers each packet once, and never after the last.
//   - Its time-out starts anew with every datagram, and is followed by a pause that
//     by default is random. A link never lets it expire.
//   - Read errors that come before Shutdown are swallowed in a busy loop. A link
//     returns one only when the transfer is done.
//   - A handler that returns nil without having read anything leaves the transfer
//     open for ever; so ours always returns an error, which does nothing once the
//     transfer is closed, and the ERROR it leads to otherwise ends in the link.
//   - blksize below 512 is refused, tsize is answered only when nonzero, other
//     options never, in random order. So it is asked what it knows, and the link
//     sends our OACK instead of its own.
type pinEngine struct {
	// timeout is longer than any transfer may last.
	timeout time.Duration
}

var errDone = errors.New("transfer done")

func (e pinEngine) floor() int { return defaultBlock }

func (e pinEngine) request(t terms) []byte {
	b := []byte{0, opRRQ}
	add := func(s string) { b = append(append(b, s...), 0) }
	add("file")
	add("octet")
	switch {
	case t.sized:
		add("blksize")
		add(strconv.Itoa(t.block))
	case t.oack != nil:
		// Any size but zero makes it send an OACK.
		add("tsize")
		add("1")
	}
	return b
}

func (e pinEngine) run(l *link, h handler) {
	var s *tftp.Server
	s = tftp.NewServer(func(_ string, rf io.ReaderFrom) error {
		// First Shutdown, which does not wait in single-port form, then finish, which
		// wakes the reading loop: the other way round it would spin in between.
		defer l.finish()
		defer s.Shutdown()
		if err := guard(h, rf); err != nil {
			return err
		}
		return errDone
	}, nil)
	s.SetBlockSizeNegotiation(false) // the block size is settled
	s.SetBlockSize(max(l.terms.block, defaultBlock+1))
	s.SetTimeout(e.timeout)
	s.EnableSinglePort()
	_ = s.Serve(l) // fails only on a link without an address
}

// guard calls h and turns a panic in it into an error: a defect in what renders a
// file must not take the server down.
func guard(h handler, rf io.ReaderFrom) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return h(rf)
}

var errPanic = errors.New("panic")
