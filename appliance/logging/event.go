package logging

import (
	"context"
	"log/slog"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Event writes one structured line for e. LAN chatter is for debugging,
// warnings are warnings, the rest is information; slog quotes whatever came
// from clients, so that no line can be forged.
func Event(log *slog.Logger, e boot.Event) {
	level := slog.LevelInfo
	switch e.Kind {
	case boot.KindWarning:
		level = slog.LevelWarn
	case boot.KindSilence, boot.KindLease, boot.KindProbe:
		level = slog.LevelDebug
		switch e.Reason {
		case boot.ReasonObserve, boot.ReasonNoLoader, boot.ReasonArch, boot.ReasonPolicy, boot.ReasonDenied, boot.ReasonUnknownIgnored, boot.ReasonTooLong, boot.ReasonNoAddress, boot.ReasonGUID:
			// A machine wanted to boot and got nothing: worth a line.
			level = slog.LevelInfo
		case boot.ReasonInternal, boot.ReasonSend:
			level = slog.LevelError
		default:
		}
	default:
	}
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 14)
	str := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	str("reason", string(e.Reason))
	str("mac", string(e.MAC))
	if e.Addr.IsValid() {
		attrs = append(attrs, slog.String("addr", e.Addr.String()))
	}
	str("interface", e.Interface)
	if e.ArchKnown {
		attrs = append(attrs, slog.String("arch", e.Arch.String()))
	}
	str("firmware", string(e.Firmware))
	str("form", string(e.Form))
	str("file", e.File)
	if e.Bytes != 0 {
		attrs = append(attrs, slog.Int64("bytes", e.Bytes))
	}
	if e.Duration != 0 {
		attrs = append(attrs, slog.Duration("duration", e.Duration))
	}
	if e.Retries != 0 {
		attrs = append(attrs, slog.Int("retries", e.Retries))
	}
	if e.Reason != boot.ReasonNone {
		attrs = append(attrs, slog.String("why", e.Reason.Text()))
	}
	str("text", e.Text)
	log.LogAttrs(ctx, level, string(e.Kind), attrs...)
}
