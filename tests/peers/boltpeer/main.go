// Upstream's bbolt as a peer of our own store: it changes files that we wrote, with its strict checks
// on, and is measured beside us.
//
//	bolt-peer churn FILE SEED ROUNDS stored|derived
//	    Changes the file at random in ROUNDS transactions, each checked as a whole (StrictMode), and
//	    prints OK. The freelist is stored, or not, as etcd's.
//
//	bolt-peer bench FILE COUNT BATCH VALUE_BYTES FILL_PERCENT random|rising
//	    Puts COUNT values with keys of 17 bytes into a bucket of a new file, BATCH in a transaction,
//	    with etcd's options and every sync, and prints the seconds from the first transaction to the end
//	    of the last.
package main

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: bolt-peer churn|bench ...")
	}
	switch os.Args[1] {
	case "churn":
		churn(os.Args[2], number(3), number(4), os.Args[5] == "stored")
	case "bench":
		bench(os.Args[2], number(3), number(4), number(5), number(6), os.Args[7] == "random")
	default:
		fail("no such command: " + os.Args[1])
	}
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, what)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail(err)
	}
}

func number(at int) int {
	n, err := strconv.Atoi(os.Args[at])
	must(err)
	return n
}

func churn(file string, seed, rounds int, stored bool) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{NoFreelistSync: !stored, FreelistType: bolt.FreelistMapType, NoSync: true, NoGrowSync: true})
	must(err)
	db.StrictMode = true
	random := rand.New(rand.NewSource(int64(seed)))
	for range rounds {
		must(db.Update(func(tx *bolt.Tx) error {
			if random.Intn(4) == 0 {
				if _, err := tx.CreateBucketIfNotExists([]byte{'n', byte(random.Intn(4))}); err != nil {
					return err
				}
			}
			return tx.ForEach(func(_ []byte, bucket *bolt.Bucket) error { return change(bucket, random) })
		}))
	}
	must(db.Close())
	fmt.Println("OK")
}

// change deletes, changes and adds keys of a bucket and of those inside it.
func change(bucket *bolt.Bucket, random *rand.Rand) error {
	bucket.FillPercent = 0.1 + 0.9*random.Float64()
	var names, keys [][]byte
	err := bucket.ForEach(func(key, value []byte) error {
		copied := append([]byte{}, key...)
		if value == nil {
			names = append(names, copied)
		} else {
			keys = append(keys, copied)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// A run of neighbours, so that whole leaves and branches empty.
	if len(keys) > 0 && random.Intn(2) == 0 {
		start := random.Intn(len(keys))
		for _, key := range keys[start : start+random.Intn(len(keys)-start+1)] {
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
	}
	for range random.Intn(60) {
		key := binary.BigEndian.AppendUint32([]byte("go"), random.Uint32())
		if len(keys) > 0 && random.Intn(2) == 0 {
			key = keys[random.Intn(len(keys))]
		}
		if err := bucket.Put(key, make([]byte, random.Intn(1+random.Intn(3000)))); err != nil {
			return err
		}
	}
	for _, name := range names {
		if random.Intn(10) == 0 {
			if err := bucket.DeleteBucket(name); err != nil {
				return err
			}
		} else if err := change(bucket.Bucket(name), random); err != nil {
			return err
		}
	}
	return nil
}

func bench(file string, count, batch, size, fill int, shuffled bool) {
	// As etcd's backend opens its file on Linux.
	db, err := bolt.Open(file, 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: 10 << 30})
	must(err)
	must(db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte("key"))
		return err
	}))
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(i)
	}
	key := make([]byte, 17)
	key[8] = '_'
	start := time.Now()
	for done := 0; done < count; {
		must(db.Update(func(tx *bolt.Tx) error {
			bucket := tx.Bucket([]byte("key"))
			bucket.FillPercent = float64(fill) / 100
			for range min(batch, count-done) {
				done++
				place := uint64(done)
				if shuffled {
					// Odd times anything permutes 2^64: each key comes once.
					place *= 0x9E3779B97F4A7C15
				}
				binary.BigEndian.PutUint64(key, place)
				if err := bucket.Put(key, value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	fmt.Println(time.Since(start).Seconds())
	must(db.Close())
}
