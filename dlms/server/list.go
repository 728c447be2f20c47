package server

import "github.com/meterseal/meterseal/dlms"

// Opened describes an association that a server holds.
type Opened struct {
	// Link is the name of the link, and Client the SAP on it.
	Link   string
	Client dlms.SAP
	// Peer is the system title that the client proved, zero without security.
	Peer dlms.SystemTitle
	// Setup and Generation name the key that opened it; zero without security.
	Setup      dlms.OBIS
	Generation uint32
	// Open is false while it waits for pass 3 of HLS.
	Open bool
}

// List describes the associations that the server holds now, in the order of the model.
func (s *Server) List() []Opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeReplaced()
	var out []Opened
	for i, sl := range s.slots {
		if sl == nil || sl.assoc == nil {
			continue
		}
		ep, a := s.kind.model.endpoints[i], sl.assoc
		out = append(out, Opened{
			Link: ep.link, Client: ep.client.SAP, Peer: a.peer, Setup: a.key.setup, Generation: a.key.number, Open: a.open,
		})
	}
	return out
}
