package main
import ("context";"errors")
func (k *kitchen) usb(ctx context.Context, out, box string) error { return errors.New("x") }
