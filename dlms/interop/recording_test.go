package interop

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Ends of a line, and kinds of links.
const (
	fromClient = "client"
	fromServer = "server"

	linkWrapper = "wrapper"
	linkHDLC    = "hdlc"
)

// peer is whose other end it was.
type peer struct {
	Project string `json:"project"`
	Commit  string `json:"commit"`
	License string `json:"license"`
	// Is tells which end was theirs: client or server.
	Is string `json:"is"`
}

// keys are the keys of a recording, in hexadecimal; Secret is a password or an HLS secret.
type keys struct {
	EK     string `json:"ek"`
	AK     string `json:"ak"`
	KEK    string `json:"kek"`
	Secret string `json:"secret"`
}

// turn is what one end said until the other answered.
type turn struct {
	From  string `json:"from"`
	Bytes string `json:"hex"`
}

func (t turn) bytes() ([]byte, error) { return hex.DecodeString(t.Bytes) }

// recording is one connection.
type recording struct {
	What string `json:"what"`
	Peer peer   `json:"peer"`
	Link string `json:"link"`
	// Script is what our end did, where it was the client; Results what that gave, in words.
	Script  string   `json:"script,omitempty"`
	Results []string `json:"results,omitempty"`
	// Server names the meter that our end was, where it was the server.
	Server string `json:"server,omitempty"`
	// Title and PeerTitle are our system title and theirs; SAP is the client's.
	Title     string `json:"title"`
	PeerTitle string `json:"peer_title,omitempty"`
	SAP       uint16 `json:"client_sap,omitempty"`
	// Counter is the first counter that our client spent; Seed what our randomness came from.
	Counter  uint32 `json:"counter,omitempty"`
	Seed     uint64 `json:"seed"`
	Keys     keys   `json:"keys"`
	Exchange []turn `json:"exchange"`
}

// load reads every recording under dir in which the peer was that end. None is an error: a test over nothing proves
// nothing.
func load(dir, peerIs string) (map[string]*recording, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	all := map[string]*recording{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r := new(recording)
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if r.Peer.Is == peerIs {
			all[filepath.Base(path)] = r
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no recording with a foreign %s under %s", peerIs, dir)
	}
	return all, nil
}
