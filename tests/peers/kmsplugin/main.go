// A KMS v2 plugin for tests: AES-256-GCM keys in a folder, on Kubernetes' own plugin library.
//
//	kms-plugin-ref -socket PATH -dir DIR
//
// Files in DIR steer it while it runs:
//
//	current    name of the key that encrypts; written as "kek-1" when missing, rewritten to rotate
//	NAME.key   32 bytes; made when a key is first used to encrypt, deleted to lose it
//	fail       when present every call fails, and Status says what the file says
//	stall      when present every call waits until its deadline
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"k8s.io/kms/pkg/service"
)

var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

type folder string

func (f folder) text(name string) (string, bool) {
	content, err := os.ReadFile(filepath.Join(string(f), name))
	return strings.TrimSpace(string(content)), err == nil
}

func (f folder) obstacle(ctx context.Context) error {
	if _, stalled := f.text("stall"); stalled {
		<-ctx.Done()
		return ctx.Err()
	}
	if reason, failing := f.text("fail"); failing {
		return errors.New(reason)
	}
	return nil
}

func (f folder) current() string {
	if name, found := f.text("current"); found {
		return name
	}
	return "kek-1"
}

func (f folder) key(name string, create bool) (cipher.AEAD, error) {
	if !keyName.MatchString(name) {
		return nil, fmt.Errorf("key id %q is not one of this plugin's", name)
	}
	path := filepath.Join(string(f), name+".key")
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		key = make([]byte, 32)
		rand.Read(key)
		err = os.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (f folder) Status(ctx context.Context) (*service.StatusResponse, error) {
	health := "ok"
	if err := f.obstacle(ctx); err != nil {
		health = err.Error()
	}
	return &service.StatusResponse{Version: "v2", Healthz: health, KeyID: f.current()}, nil
}

func (f folder) Encrypt(ctx context.Context, uid string, plain []byte) (*service.EncryptResponse, error) {
	if err := f.obstacle(ctx); err != nil {
		return nil, err
	}
	name := f.current()
	aead, err := f.key(name, true)
	if err != nil {
		return nil, err
	}
	sealed := aead.Seal(nil, nil, plain, []byte(name))
	notes := map[string][]byte{"cipher.kms.holdfast.invalid": []byte("aes-256-gcm")}
	return &service.EncryptResponse{Ciphertext: sealed, KeyID: name, Annotations: notes}, nil
}

func (f folder) Decrypt(ctx context.Context, uid string, request *service.DecryptRequest) ([]byte, error) {
	if err := f.obstacle(ctx); err != nil {
		return nil, err
	}
	if string(request.Annotations["cipher.kms.holdfast.invalid"]) != "aes-256-gcm" {
		return nil, errors.New("the annotations of the encryption are missing")
	}
	aead, err := f.key(request.KeyID, false)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, request.Ciphertext, []byte(request.KeyID))
}

func main() {
	socket := flag.String("socket", "", "unix socket to listen on")
	dir := flag.String("dir", "", "folder with the keys")
	flag.Parse()
	if *socket == "" || *dir == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		log.Fatal(err)
	}
	os.Remove(*socket)
	server := service.NewGRPCService(*socket, 10*time.Second, folder(*dir))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		server.Shutdown()
	}()
	if err := server.ListenAndServe(); err != nil {
		log.Fatal(err)
	}
}
