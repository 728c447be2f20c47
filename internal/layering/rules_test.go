package layering

// module is the path that every package of ours begins with.
const module = "github.com/meterseal/meterseal"

// Limits on length, in lines, for code that is not a test.
const (
	maxFileLines     = 400
	maxFunctionLines = 80
)

// rule says what a package may import from this module. A path ending in "/..." stands for a package and all below
// it. The most specific rule for a package is the one that counts. What stands above in a list of rules knows
// nothing of what stands below it.
type rule struct {
	from string
	may  []string
}

// importRules is section 4 of the design. The standard library is free to all but for bannedEverywhere; other
// modules are in externalRules. Tests are held by testRules.
var importRules = []rule{
	// The public library.
	{from: "dlms/internal/wire"},
	{from: "dlms/internal/bare"},
	{from: "dlms", may: []string{"dlms/internal/wire"}},
	{from: "dlms/apdu", may: []string{"dlms", "dlms/internal/wire"}},
	{from: "dlms/key", may: []string{"dlms", "dlms/internal/bare"}},
	{from: "dlms/security", may: []string{"dlms", "dlms/internal/bare", "dlms/internal/wire", "dlms/key", "dlms/apdu"}},
	{from: "dlms/link", may: []string{"dlms"}},
	{from: "dlms/link/...", may: []string{"dlms", "dlms/internal/wire", "dlms/link", "dlms/link/internal/..."}},
	{from: "dlms/cosem", may: []string{"dlms", "dlms/internal/wire", "dlms/apdu", "dlms/key", "dlms/security"}},
	{from: "dlms/client", may: []string{"dlms", "dlms/internal/wire", "dlms/apdu", "dlms/key", "dlms/security", "dlms/link"}},
	{from: "dlms/server", may: []string{"dlms", "dlms/internal/wire", "dlms/apdu", "dlms/key", "dlms/security", "dlms/link", "dlms/cosem"}},
	{from: "dlms/decode", may: []string{"dlms", "dlms/internal/wire", "dlms/apdu", "dlms/key", "dlms/security", "dlms/cosem", "dlms/link", "dlms/link/..."}},
	{from: "dlms/dlmstest", may: []string{"dlms/..."}},
	{from: "dlms/interop", may: []string{"dlms/..."}},

	// Words and files that several parts share.
	{from: "internal/role", may: []string{"dlms"}},
	{from: "internal/clock"},
	{from: "internal/defence"},
	{from: "internal/durable"},
	{from: "internal/config", may: []string{"dlms", "internal/role", "internal/durable"}},
	{from: "internal/transport", may: []string{"dlms/key"}},
	{from: "internal/transport/transporttest", may: []string{"internal/transport"}},
	{from: "internal/enrol", may: []string{"dlms", "dlms/key", "internal/keylog", "internal/role", "internal/transport", "internal/durable"}},
	{from: "internal/shipment", may: []string{"dlms", "dlms/key", "dlms/security", "internal/role", "internal/transport", "internal/durable"}},
	{from: "internal/keysfile", may: []string{"dlms", "dlms/key", "dlms/security", "internal/durable"}},
	{from: "internal/serial/...", may: []string{"dlms/link/iec62056"}},
	{from: "internal/keylog", may: []string{"dlms", "internal/role", "internal/durable"}},
	{from: "internal/bus", may: []string{"dlms", "dlms/key", "internal/role", "internal/enrol", "internal/keylog", "internal/durable"}},

	// The field: none of these knows the central system.
	{from: "internal/meter/loadcurve"},
	{from: "internal/meter", may: []string{"dlms/...", "internal/meter/...", "internal/clock", "internal/defence", "internal/role", "internal/shipment", "internal/keysfile", "internal/config", "internal/durable"}},
	{from: "internal/meter/...", may: []string{"dlms/...", "internal/meter/...", "internal/clock", "internal/defence", "internal/role", "internal/shipment", "internal/keysfile", "internal/config", "internal/durable"}},
	{from: "internal/concentrator/...", may: []string{"dlms/...", "internal/concentrator/...", "internal/clock", "internal/role", "internal/bus", "internal/enrol", "internal/transport", "internal/keylog", "internal/keysfile", "internal/config", "internal/durable"}},
	{from: "internal/terminal/...", may: []string{"dlms/...", "internal/terminal/...", "internal/clock", "internal/role", "internal/enrol", "internal/transport", "internal/keylog", "internal/keysfile", "internal/config", "internal/durable"}},

	// The central system. The store implements what the others declare; the web reaches no key.
	{from: "internal/central/audit", may: []string{"dlms", "dlms/key", "internal/clock", "internal/keylog", "internal/role"}},
	{from: "internal/central/life", may: []string{"dlms", "internal/central/audit", "internal/keylog", "internal/role"}},
	{from: "internal/central/lease", may: []string{"dlms", "internal/defence"}},
	{from: "internal/central/access", may: []string{"internal/central/audit", "internal/durable"}},
	{from: "internal/central/vault", may: []string{"dlms", "dlms/apdu", "dlms/key", "dlms/security", "internal/central/audit", "internal/clock", "internal/defence", "internal/role", "internal/enrol", "internal/shipment", "internal/transport", "internal/durable"}},
	{from: "internal/central/vault/pkcs11", may: []string{"dlms", "dlms/key", "dlms/security", "internal/central/vault", "internal/enrol", "internal/role", "internal/transport"}},
	{from: "internal/central/vault/vaulttest", may: []string{"dlms", "dlms/key", "dlms/security", "internal/central/vault", "internal/enrol", "internal/keylog", "internal/role", "internal/transport"}},
	{from: "internal/central/fleet", may: []string{"dlms", "dlms/key", "internal/central/access", "internal/central/audit", "internal/clock", "internal/role", "internal/enrol", "internal/shipment"}},
	{from: "internal/central/backup", may: []string{"dlms", "internal/central/audit", "internal/central/fleet", "internal/central/store", "internal/central/vault", "internal/role", "internal/durable"}},
	{from: "internal/central/collect/dayblock", may: []string{"dlms"}},
	{from: "internal/central/collect", may: []string{"dlms", "internal/central/collect/dayblock", "internal/central/audit", "internal/central/fleet", "internal/clock", "internal/role", "internal/bus"}},
	{from: "internal/central/rotation", may: []string{"dlms", "dlms/apdu", "dlms/client", "dlms/key", "dlms/link", "dlms/security", "internal/central/vault", "internal/central/fleet", "internal/central/audit", "internal/central/lease", "internal/clock", "internal/defence", "internal/role", "internal/bus"}},
	{from: "internal/central/relay", may: []string{"dlms", "dlms/apdu", "dlms/client", "dlms/key", "dlms/link", "dlms/security", "internal/central/vault", "internal/central/rotation", "internal/central/fleet", "internal/central/audit", "internal/central/lease", "internal/clock", "internal/role", "internal/bus"}},
	{from: "internal/central/store/...", may: []string{"dlms", "internal/central/access", "internal/central/vault", "internal/central/fleet", "internal/central/collect", "internal/central/rotation", "internal/central/audit", "internal/central/lease", "internal/central/store/...", "internal/defence", "internal/role", "internal/keylog"}},
	{from: "internal/central/api", may: []string{"dlms", "dlms/key", "internal/central/access", "internal/central/fleet", "internal/central/rotation", "internal/central/collect", "internal/central/audit", "internal/central/life", "internal/clock", "internal/role", "internal/bus", "internal/enrol", "internal/shipment", "internal/transport"}},
	{from: "internal/central/console", may: []string{"dlms", "dlms/key", "internal/central/fleet", "internal/central/rotation", "internal/central/collect", "internal/central/audit", "internal/clock", "internal/role"}},
	{from: "internal/central", may: []string{"dlms/...", "internal/central/...", "internal/clock", "internal/defence", "internal/role", "internal/bus", "internal/enrol", "internal/keylog", "internal/shipment", "internal/transport", "internal/config", "internal/durable"}},

	// The product.
	{from: "internal/drill", may: []string{"dlms/...", "internal/..."}},
	{from: "internal/lab", may: []string{"dlms/...", "internal/..."}},
	{from: "internal/rotationbench", may: []string{"dlms/...", "internal/..."}},
	{from: "internal/sim", may: []string{"dlms/...", "internal/..."}},
	{from: "internal/layering"},
	{from: "internal/leaktest"},
	{from: "cmd/meterseal", may: []string{"dlms/...", "internal/..."}},
}

// unreachable holds over any number of steps, where importRules hold for one: no change of the table above, however
// well meant, joins these.
var unreachable = []rule{
	{from: "dlms/...", may: []string{"internal/...", "cmd/..."}},
	{from: "internal/meter/...", may: []string{"internal/central/...", "internal/concentrator/...", "internal/terminal/...", "internal/bus/...", "internal/lab"}},
	{from: "internal/concentrator/...", may: []string{"internal/central/...", "internal/meter/...", "internal/terminal/...", "internal/shipment", "internal/lab"}},
	{from: "internal/terminal/...", may: []string{"internal/central/...", "internal/meter/...", "internal/concentrator/...", "internal/shipment", "internal/lab"}},
	{from: "internal/central/...", may: []string{"internal/meter/...", "internal/concentrator/...", "internal/terminal/...", "internal/lab"}},
	{from: "internal/central/audit", may: []string{"internal/central/vault", "internal/central/store/..."}},
}

// notDirectly: packages that must not name another one, though they may reach it through a third that speaks to it
// in operations.
var notDirectly = []rule{
	{from: "internal/central/api", may: []string{"internal/central/vault", "dlms/security"}},
	{from: "internal/central/console", may: []string{"internal/central/vault", "dlms/security"}},
}

// externalRules: which of our packages may import which foreign module. A module that is not here is refused: a
// dependency is a decision.
var externalRules = []struct {
	modulePath string
	users      []string
}{
	{"filippo.io/age", []string{"internal/sim", "internal/rotationbench", "internal/shipment", "internal/enrol", "internal/central/...", "internal/concentrator/...", "internal/terminal/...", "internal/lab", "cmd/meterseal"}},
	{"github.com/jackc/pgx/v5", []string{"internal/central/store/..."}},
	{"github.com/mattn/go-isatty", []string{"internal/lab", "cmd/meterseal"}},
	{"github.com/miekg/pkcs11", []string{"internal/central/vault/pkcs11"}}, // build tag pkcs11: it needs cgo
	{"github.com/nats-io/nats-server/v2", []string{"internal/bus"}},
	{"github.com/nats-io/nats.go", []string{"internal/bus"}},
	{"github.com/nats-io/jwt/v2", []string{"internal/bus"}},
	{"github.com/nats-io/nkeys", []string{"internal/bus", "internal/enrol", "internal/central", "internal/concentrator"}},
	{"github.com/pressly/goose/v3", []string{"internal/central/store/..."}},
	{"github.com/spf13/cobra", []string{"cmd/meterseal"}},
	{"github.com/spf13/pflag", []string{"cmd/meterseal"}},
	{"github.com/vbauerster/mpb/v8", []string{"internal/lab", "cmd/meterseal"}},
	{"go.yaml.in/yaml/v3", []string{"internal/config"}},
	{"go.bug.st/serial", []string{"internal/serial"}},
	{"golang.org/x/mod/sumdb", []string{"internal/central/audit"}},
	{"golang.org/x/sync", []string{"internal/...", "cmd/meterseal"}},
	{"golang.org/x/sys", []string{"internal/..."}},
	{"golang.org/x/term", []string{"internal/lab", "cmd/meterseal"}},
	{"golang.org/x/time/rate", []string{"internal/..."}},
	{"modernc.org/sqlite", []string{"internal/central/store/...", "internal/concentrator/...", "internal/meter"}},
}

// testModules may be imported by any test, and by nothing else.
var testModules = []string{
	"github.com/google/go-cmp",
	"github.com/rogpeppe/go-internal",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
}

// bannedEverywhere: packages of the standard library that no code of ours needs.
var bannedEverywhere = []string{"unsafe", "io/ioutil", "log", "math/rand", "plugin"}

// bannedNames say nothing about what a package is for.
var bannedNames = []string{"util", "utils", "common", "types", "helpers", "misc", "base", "pkg"}

// keyPackage is where keys live, as types that do not give their bytes away.
const keyPackage = "dlms/key"

// namesOnly: packages that speak of keys and never hold one. Of a package where keys live, or sealed files with keys
// in them, they may use these names only.
var namesOnly = []struct {
	users []string
	of    string
	names []string
}{
	{
		[]string{"internal/bus", "internal/central/api", "internal/central/audit", "internal/central/collect/...", "internal/central/console", "internal/central/fleet", "internal/central/rotation"},
		keyPackage,
		[]string{"CheckValue", "Fingerprint", "ParseCheckValue", "ParseFingerprint"},
	},
	{[]string{"internal/central/api", "internal/central/console"}, "internal/shipment", []string{"Report", "RowFault", "Fault", "MakerPublic"}},
	{[]string{"internal/central/api", "internal/central/console"}, "internal/enrol", []string{"File", "Grant", "LogFile"}},
}

// revealing: the functions and methods of keyPackage that give the bytes of a key, and who may use them. A name
// here is refused in every other package, whatever it is called on. Law 2.
var revealing = []struct {
	name  string
	users []string
}{
	{"Reveal", []string{
		"dlms/security",      // the authentication key is part of the additional authenticated data
		"dlms/client",        // the session key travels inside the ciphered InitiateRequest
		"internal/keysfile",  // the file of a test bench's keys
		"internal/meter",     // a meter's own memory
		"internal/shipment",  // the maker's side, sealed to the IS
		"internal/enrol",     // a concentrator's or terminal's own enrolment
		"internal/transport", // the AES key of a file, wrapped under RSA
		"internal/central/vault",
		"internal/concentrator/keyring",
		"internal/terminal",
	}},
	{"RevealSecret", []string{
		"dlms/security", // the HLS secret is hashed
		"dlms/client",   // a password travels in the AARQ
		"internal/keysfile",
		"internal/meter",
		"internal/meter/bench",
	}},
	{"Expose", nil},
	{"UnwrapBlob", []string{keyPackage}},
}

// harmless: what keyPackage exports that gives bytes, and no key with them. An exported function that gives bytes
// and stands neither here nor in revealing is refused.
var harmless = []string{
	"CMAC", "Framed", "Sum", // a check sum, a message
	"Wrap", "WrapBlob", // RFC 3394 under another key
	"Seal", "Open", // of a cipher: a message
	"MarshalText", "MarshalBinary", // refuse, or give a check value
	"DerivedText", // a title and a day
}

// decoderPrefixes: an exported function of dlms that begins so and takes bytes must be named in a file with a fuzz
// target, in its own package.
var decoderPrefixes = []string{"Parse", "Decode", "Unmarshal"}

// noFuzzWith: modules that take a minute to instrument. No package that reaches them holds a fuzz target.
var noFuzzWith = []string{"modernc.org/sqlite", "github.com/nats-io/nats-server/v2"}
