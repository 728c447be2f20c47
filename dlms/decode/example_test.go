package decode_test

import (
	"encoding/hex"
	"fmt"
	"os"

	"github.com/meterseal/meterseal/dlms/decode"
	"github.com/meterseal/meterseal/dlms/key"
)

// A request that was encrypted and authenticated is deciphered and shown.
func ExampleDecode() {
	// Keys and bytes of an example of the DLMS UA Green Book.
	unicast, err := key.NewUnicast([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	if err != nil {
		fmt.Println(err)
		return
	}
	keys := decode.Keys{Unicast: unicast}
	copy(keys.Title[:], "MMM\x00\x00\xBC\x61\x4E")
	b, err := hex.DecodeString("C8122001234567411312FF935A47566827C467BC")
	if err != nil {
		fmt.Println(err)
		return
	}
	tree := decode.Decode(b, decode.Options{Keys: []decode.Keys{keys}})
	if err := tree.Find("plaintext").WriteText(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	//      0    13  plaintext -- NOT AUTHENTICATED: anybody may have written it; deciphered under the unicast key of 4D4D4D0000BC614E
	//     0'    13    get-request: normal
	//     0'     1      tag: get-request  [C0]
	//     1'     1      choice: normal  [01]
	//     2'     1      invoke-id-and-priority: 0, unconfirmed, normal priority  [00]
	//     3'     9      cosem-attribute-descriptor: 8/0.0.1.0.0.255/2 -- Clock: clock; time
	//     3'     2        class-id: 8  [00 08]
	//     5'     6        instance-id: 0.0.1.0.0.255 -- clock  [00 00 01 00 00 FF]
	//    11'     1        attribute-id: 2  [02]
	//    12'     1      access-selection: false  [00]
}
