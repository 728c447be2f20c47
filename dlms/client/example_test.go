package client_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// Read a register: connect, associate with HLS-GMAC and a fresh session key, read, release.
func Example() {
	k, master := newKeys()
	ctx := context.Background()
	conn := newExampleMeter(k, master).connect(ctx)
	defer func() { _ = conn.Close() }()

	a, err := client.Open(ctx, conn, client.Linky(readerTitle, meterTitle, hold(k), rand.Reader))
	if err != nil {
		fmt.Println(err)
		return
	}
	value, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassRegister, Instance: energyTotal, Attribute: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := value.Uint()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(energyTotal, "is", n)

	// The same by the object's name, with its scaler and unit.
	reading, err := cosem.RegisterAt(a, energyTotal).Read(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reading)
	if err := a.Release(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1.0.1.8.0.255 is 123456
	// 123456 Wh
}

// Read a part of a load curve: the rows of two hours, by selective access. The meter sends them in blocks if they are
// long.
func ExampleAssociation_GetSelected() {
	k, master := newKeys()
	ctx := context.Background()
	conn := newExampleMeter(k, master).connect(ctx)
	defer func() { _ = conn.Close() }()
	a, err := client.Open(ctx, conn, client.Linky(readerTitle, meterTitle, hold(k), rand.Reader))
	if err != nil {
		fmt.Println(err)
		return
	}

	buffer := dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: loadCurve, Attribute: 2}
	from, to := start.Add(6*time.Hour), start.Add(8*time.Hour)
	value, err := a.GetSelected(ctx, buffer, apdu.RangeDescriptor{
		Column: clockColumn, From: dlms.DateTimeOf(from, 0).Octets(), To: dlms.DateTimeOf(to, 0).Octets(),
	}.Selection())
	if err != nil {
		fmt.Println(err)
		return
	}
	rows, err := cosem.ParseProfileRows(value)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, row := range rows {
		captured, err := row[0].DateTime()
		if err != nil {
			fmt.Println(err)
			return
		}
		at, err := captured.Time()
		if err != nil {
			fmt.Println(err)
			return
		}
		n, err := row[1].Uint()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(at.Format(time.DateTime), n)
	}
	// Output:
	// 2026-03-01 06:00:00 620
	// 2026-03-01 06:30:00 630
	// 2026-03-01 07:00:00 640
	// 2026-03-01 07:30:00 650
	// 2026-03-01 08:00:00 660
}

// Decode a push: a meter sends data unasked, under its global key, with its system title in front. The receiver finds
// the key by the title, and takes each push once.
func ExampleReceiver() {
	k, master := newKeys()
	meter := newExampleMeter(k, master)
	pushed, err := meter.server.DataNotification("lan", 32, apdu.DataNotification{
		ID: 1, Body: dlms.Structure(dlms.LogicalNameData(energyTotal), dlms.Uint32(123456)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	held := hold(k)
	receiver, err := client.NewReceiver(client.ReceiverConfig{
		Acceptance: security.Acceptance{Policy: security.PolicyAuthenticatedEncrypted},
		Lookup: func(p client.Push) (client.PushKey, error) {
			if p.Title != meterTitle {
				return client.PushKey{}, client.ErrNoKey
			}
			return client.PushKey{Cipher: held.Cipher, Floor: held.Floor}, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := receiver.Receive(pushed, dlms.SystemTitle{})
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := n.Data.Body.At(1).Uint()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("from", n.Title, "authenticated:", n.Authenticated, "value:", v)

	_, err = receiver.Receive(pushed, dlms.SystemTitle{})
	fmt.Println("again:", errors.Is(err, security.ErrReplay))
	// Output:
	// from 4D534C0000000001 authenticated: true value: 123456
	// again: true
}

// Transfer a key: wrap the new one under the meter's master key, hand it over, and open an association under it. Only
// that proves that the meter has it; the answer to the transfer does not, and neither does its absence prove that it
// has not.
func ExampleAssociation_Action() {
	old, master := newKeys()
	ctx := context.Background()
	conn := newExampleMeter(old, master).connect(ctx)
	defer func() { _ = conn.Close() }()
	a, err := client.Open(ctx, conn, client.Linky(readerTitle, meterTitle, hold(old), rand.Reader))
	if err != nil {
		fmt.Println(err)
		return
	}

	fresh, err := key.GenerateUnicast(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	wrapped, err := master.Wrap(fresh)
	if err != nil {
		fmt.Println(err)
		return
	}
	method := dlms.MethodRef{Class: dlms.ClassSecuritySetup, Instance: lanSetup, Method: cosem.MethodKeyTransfer}
	_, err = a.Action(ctx, method, cosem.KeyTransfer(0, wrapped)) // 0 is the global unicast key; one key a call
	fmt.Println("transfer:", err)
	a.Abandon() // the meter has closed what was opened under the old key

	_, err = client.Open(ctx, conn, client.Linky(readerTitle, meterTitle, hold(old), rand.Reader))
	fmt.Println("the old key is refused:", err != nil)
	b, err := client.Open(ctx, conn, client.Linky(readerTitle, meterTitle, hold(fresh), rand.Reader))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the new key opens:", b.Err() == nil)
	// Output:
	// transfer: <nil>
	// the old key is refused: true
	// the new key opens: true
}
