package server_test

import (
	"runtime"
	"testing"

	"github.com/meterseal/meterseal/dlms/server"
)

func TestAnIdleServerTakesFewBytes(t *testing.T) {
	model, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: clients()})
	if err != nil {
		t.Fatal(err)
	}
	const n = 20000
	kind := server.NewKind(model, nil)
	dev := &device{}
	servers := make([]*server.Server, n)
	before := heap()
	for i := range servers {
		servers[i] = kind.New(dev)
	}
	each := (int64(heap()) - int64(before)) / n
	t.Logf("an idle server takes %d bytes", each)
	if each > 256 {
		t.Errorf("an idle server takes %d bytes, want at most 256", each)
	}
	runtime.KeepAlive(servers)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkGetUnderTheDedicatedKey(b *testing.B) {
	bench := newBench(b)
	bench.unwatched = true
	p := bench.tester()
	p.open()
	plain := p.energyRequest()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%60000 == 59999 {
			p.ded = nil
			p.open()
		}
		if p.send(p.sealDedicated(plain))[0] != 0xD4 {
			b.Fatal("refused")
		}
	}
}
