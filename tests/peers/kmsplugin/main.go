// A key service for tests: the Kubernetes KMS v2 plugin protocol on a unix socket, served by
// Kubernetes' own library, with keys in a folder and faults on request.
//
//	kms-plugin-ref -socket PATH -dir FOLDER
//
// PATH may be abstract: @name. In FOLDER:
//
//	current     name of the key that encrypts; write another name to rotate (default kek-1)
//	NAME.key    32 bytes, made when first used to encrypt; remove it to lose the key
//	fail        while it exists every call fails with its text, and the status says so
//	stall       while it exists every call waits until its deadline
//	fault       while it exists, one word: stale-status (names another key), big-key-id, empty-key-id,
//	            big-ciphertext, empty-ciphertext, big-annotation, old-version
//	log         a line for each call
//
// What Encrypt returns is nonce (12) and AES-256-GCM, bound to the key's name.
package main

import (
	"bytes"
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

// A client must hand these back on Decrypt as it got them.
const annotation, annotationValue = "cipher.kms.holdfast.invalid", "AES-256-GCM"

var keyName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

type folder struct {
	path  string
	calls *log.Logger
}

func (f folder) read(name string) (string, bool) {
	text, err := os.ReadFile(filepath.Join(f.path, name))
	return strings.TrimSpace(string(text)), err == nil
}

func (f folder) currentKey() string {
	if name, ok := f.read("current"); ok && name != "" {
		return name
	}
	return "kek-1"
}

// begin is what each call does first: it blocks or fails as the folder asks for.
func (f folder) begin(ctx context.Context) (fault string, err error) {
	if text, ok := f.read("fail"); ok {
		return "", fmt.Errorf("asked to fail: %s", text)
	}
	if _, ok := f.read("stall"); ok {
		<-ctx.Done()
		return "", ctx.Err()
	}
	fault, _ = f.read("fault")
	return fault, nil
}

func (f folder) open(name string, mayCreate bool) (cipher.AEAD, error) {
	if !keyName.MatchString(name) {
		return nil, fmt.Errorf("no such key: %q", name)
	}
	path := filepath.Join(f.path, name+".key")
	key, err := os.ReadFile(path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && mayCreate:
		key = make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, key, 0o600); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no such key: %q", name)
	default:
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (f folder) Status(ctx context.Context) (*service.StatusResponse, error) {
	answer := &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: f.currentKey()}
	fault, err := f.begin(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		answer.Healthz = err.Error()
	}
	switch fault {
	case "stale-status":
		answer.KeyID = "some-other-key"
	case "old-version":
		answer.Version = "v1beta1"
	}
	f.calls.Printf("status healthz=%q key=%s", answer.Healthz, answer.KeyID)
	return answer, nil
}

func (f folder) Encrypt(ctx context.Context, uid string, plaintext []byte) (*service.EncryptResponse, error) {
	fault, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	name := f.currentKey()
	aead, err := f.open(name, true)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	answer := &service.EncryptResponse{
		Ciphertext:  aead.Seal(nonce, nonce, plaintext, []byte(name)),
		KeyID:       name,
		Annotations: map[string][]byte{annotation: []byte(annotationValue)},
	}
	switch fault {
	case "big-key-id":
		answer.KeyID = strings.Repeat("k", 1025)
	case "empty-key-id":
		answer.KeyID = ""
	case "big-ciphertext":
		answer.Ciphertext = bytes.Repeat([]byte{7}, 1025)
	case "empty-ciphertext":
		answer.Ciphertext = nil
	case "big-annotation":
		answer.Annotations["large.kms.holdfast.invalid"] = make([]byte, 32<<10)
	}
	f.calls.Printf("encrypt uid=%s key=%s bytes=%d", uid, name, len(plaintext))
	return answer, nil
}

func (f folder) Decrypt(ctx context.Context, uid string, request *service.DecryptRequest) ([]byte, error) {
	if _, err := f.begin(ctx); err != nil {
		return nil, err
	}
	if string(request.Annotations[annotation]) != annotationValue {
		return nil, errors.New("the annotations of the encryption are missing")
	}
	aead, err := f.open(request.KeyID, false)
	if err != nil {
		return nil, err
	}
	size := aead.NonceSize()
	if len(request.Ciphertext) < size {
		return nil, errors.New("the ciphertext is too short")
	}
	nonce, sealed := request.Ciphertext[:size], request.Ciphertext[size:]
	plaintext, err := aead.Open(nil, nonce, sealed, []byte(request.KeyID))
	f.calls.Printf("decrypt uid=%s key=%s ok=%t", uid, request.KeyID, err == nil)
	return plaintext, err
}

func run() error {
	socket := flag.String("socket", "", "where to listen: a path, or @name")
	path := flag.String("dir", "", "folder of keys and faults")
	flag.Parse()
	if *socket == "" || *path == "" {
		return errors.New("both -socket and -dir are needed")
	}
	if err := os.MkdirAll(*path, 0o700); err != nil {
		return err
	}
	calls, err := os.OpenFile(filepath.Join(*path, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer calls.Close()
	abstract := strings.HasPrefix(*socket, "@")
	if !abstract {
		if err := os.Remove(*socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	plugin := service.NewGRPCService(*socket, 10*time.Second, folder{*path, log.New(calls, "", log.LstdFlags)})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- plugin.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-signals:
		plugin.Close()
		return nil
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kms-plugin-ref:", err)
		os.Exit(1)
	}
}
