package vault

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

// recordBytes is about what a record takes.
const recordBytes = 480

// appendRecords writes records as json.Marshal does. Rows of keys are nearly all that an import brings, and are written
// here without looking at their types one by one.
func appendRecords(b []byte, records []record) ([]byte, error) {
	if records == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '[')
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		if r.Key != nil { // then nothing else is set
			var err error
			if b, err = appendKeyRecord(b, r.Key); err != nil {
				return nil, err
			}
			continue
		}
		one, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		b = append(b, one...)
	}
	return append(b, ']'), nil
}

func appendKeyRecord(b []byte, k *KeyRow) ([]byte, error) {
	b = append(b, `{"key":{"Ref":{"meter":"`...)
	b = append(b, k.Ref.Meter.String()...)
	b = append(b, `","role":"`...)
	b = append(b, k.Ref.Role.String()...)
	b = strconv.AppendUint(append(b, `","version":`...), uint64(k.Ref.Version), 10)
	b = strconv.AppendUint(append(b, `},"Suite":`...), uint64(k.Suite), 10)
	b = strconv.AppendUint(append(b, `,"Term":`...), uint64(k.Term), 10)
	b = appendBytes(append(b, `,"Sealed":`...), k.Sealed)
	b = appendBytes(append(b, `,"MAC":`...), k.MAC)
	b = append(append(b, `,"CheckValue":"`...), k.CheckValue.String()...)
	b = append(append(b, `","Fingerprint":"`...), k.Fingerprint.String()...)
	b = append(append(b, `","State":"`...), k.State...)
	b = append(b, '"')
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"CreatedAt", k.CreatedAt}, {"SentAt", k.SentAt}, {"ActiveAt", k.ActiveAt}, {"EndedAt", k.EndedAt}} {
		b = append(append(append(b, `,"`...), t.name...), `":"`...)
		var err error
		if b, err = t.at.AppendText(b); err != nil {
			return nil, err
		}
		b = append(b, '"')
	}
	return append(b, `}}`...), nil
}

func appendBytes(b, raw []byte) []byte {
	if raw == nil {
		return append(b, "null"...)
	}
	b = base64.StdEncoding.AppendEncode(append(b, '"'), raw)
	return append(b, '"')
}
