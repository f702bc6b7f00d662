package queue

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyFile lies beside an encrypted store and tells whether a key is the right one: the server itself would leave out
// what it cannot decrypt, and new streams would take the place of the old.
const keyFile = "key.check"

// checkKey refuses a key that the store was not made with, before anything touches it.
func checkKey(dir, key string) error {
	file := filepath.Join(dir, keyFile)
	stored, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && key == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Join(dir, "nats", "jetstream")); err == nil {
			return errors.New("the store is not encrypted, and a store stays as it was made: take queue.encryption_key out, " +
				"or move it with `mxhook queue migrate` to one that is")
		}
		return writeKeyCheck(dir, file, key)
	case err != nil:
		return fmt.Errorf("read the check of the encryption key: %w", err)
	case key == "":
		return errors.New("the store is encrypted: set queue.encryption_key to the key that it was made with")
	}
	salt, sum, ok := strings.Cut(strings.TrimSpace(string(stored)), ":")
	if !ok {
		return fmt.Errorf("%s is damaged: restore it from a backup of the store", file)
	}
	if !hmac.Equal([]byte(sum), []byte(keySum(key, salt))) {
		return errors.New("queue.encryption_key is not the key that the store was made with: set that; the store is untouched")
	}
	return nil
}

// writeKeyCheck is durable before there is a store.
func writeKeyCheck(dir, file, key string) error {
	var salt [16]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return fmt.Errorf("make a salt: %w", err)
	}
	text := hex.EncodeToString(salt[:])
	f, err := os.CreateTemp(dir, keyFile+".*")
	if err == nil {
		_, err = f.WriteString(text + ":" + keySum(key, text) + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write the check of the encryption key: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func keySum(key, salt string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte("mxhook queue " + salt))
	return hex.EncodeToString(m.Sum(nil))
}
