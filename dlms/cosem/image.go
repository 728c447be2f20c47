package cosem

import (
	"errors"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Methods of class Image transfer (BB 4.4.6).
const (
	MethodImageInitiate int8 = 1
	MethodImageBlock    int8 = 2
	MethodImageVerify   int8 = 3
	MethodImageActivate int8 = 4
)

// ImageStatus is image_transfer_status (BB 4.4.6).
type ImageStatus uint8

// Image transfer statuses.
const (
	ImageNotInitiated        ImageStatus = 0
	ImageInitiated           ImageStatus = 1
	ImageVerificationStarted ImageStatus = 2
	ImageVerified            ImageStatus = 3
	ImageVerificationFailed  ImageStatus = 4
	ImageActivationStarted   ImageStatus = 5
	ImageActivated           ImageStatus = 6
	ImageActivationFailed    ImageStatus = 7
)

// Bounds of an image, ours.
const (
	maxImageIdentifier        = 128 // bytes
	maxImageBlocks     uint32 = 1 << 20
	defaultImageBlock  uint32 = 128
	defaultMaxImage    uint32 = 16 << 20
)

// String returns the words of BB.
func (s ImageStatus) String() string {
	names := [...]string{
		"not initiated", "initiated", "verification initiated", "verification successful", "verification failed",
		"activation initiated", "activation successful", "activation failed",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return "image transfer status " + strconv.Itoa(int(s))
}

// ImageState is the state of one transfer, which outlives a power cut.
type ImageState struct {
	// Status is image_transfer_status.
	Status ImageStatus
	// Identifier is what the client called the image.
	Identifier []byte
	// Size is that of the image, BlockSize that of every block but the last, in bytes.
	Size      uint32
	BlockSize uint32
	// Blocks says which blocks have come.
	Blocks ImageBitmap
	// Ready is what a verification found in the image.
	Ready []ImageInfo
}

// length returns how many bytes a block has: the last one has what is left.
func (s *ImageState) length(block uint32) int {
	left := uint64(s.Size) - uint64(block)*uint64(s.BlockSize)
	return int(min(left, uint64(s.BlockSize)))
}

func (s *ImageState) complete() bool { return s.Blocks.First() == s.Blocks.Blocks() }

// ImageStore keeps a transfer in the non-volatile memory of a device. What it confirms is durable: a meter that lost
// its power goes on where it was. Calls come one at a time, under the lock of the device's server.
type ImageStore interface {
	// Load returns the state; before the first transfer the zero state. The object does not change what it got.
	Load() (ImageState, error)
	// Begin forgets the image before and makes room for a new one.
	Begin(s ImageState) error
	// Put keeps a block that has not come before, and that it has come.
	Put(block uint32, value []byte) error
	// SetStatus keeps a status, and after a verification what was found.
	SetStatus(s ImageStatus, ready []ImageInfo) error
	// Verify checks the whole image, its signature first of all, and returns what is in it. ErrImagePending says that
	// it goes on in the background: the store keeps the status itself when it has ended, or waits to be asked again.
	Verify() ([]ImageInfo, error)
	// Activate makes the device use the image. ErrImagePending as with Verify.
	Activate() error
}

// ErrImagePending is returned by an [ImageStore] that has not finished a verification or an activation yet.
var ErrImagePending = errors.New("image transfer: not finished yet")

// ImageTransferConfig describes an Image transfer.
type ImageTransferConfig struct {
	// Instance is the logical name, 0.0.44.0.0.255 as a rule.
	Instance dlms.OBIS
	// BlockSize is image_block_size in bytes; 0 means 128. A block has to fit into an APDU of every client.
	BlockSize uint32
	// MaxSize bounds an image, in bytes; 0 means 16 MiB. An image has at most 2^20 blocks.
	MaxSize uint32
	// Store returns the store of the device.
	Store func(env *Env) (ImageStore, error)
	// Enabled reads image_transfer_enabled; nil is true. SetEnabled writes it; nil refuses.
	Enabled    func(env *Env) (bool, error)
	SetEnabled func(env *Env, on bool) error
}

type imageTransfer struct {
	base
	cfg ImageTransferConfig
}

// NewImageTransfer returns an object of class Image transfer (BB 4.4.6, class 18 version 0).
//
// Blocks are taken in any order while the transfer is initiated, each once: one that comes again is confirmed and not
// looked at. Nothing that was verified changes after that. An image is activated only if its verification succeeded,
// and an activation verifies an image that nobody verified before.
func NewImageTransfer(cfg ImageTransferConfig) Object {
	if cfg.BlockSize == 0 {
		cfg.BlockSize = defaultImageBlock
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = defaultMaxImage
	}
	return &imageTransfer{base{ID{Class: dlms.ClassImageTransfer, Instance: cfg.Instance}}, cfg}
}

func (o *imageTransfer) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		return dlms.Uint32(o.cfg.BlockSize), nil
	case 5:
		on, err := o.enabled(env)
		return dlms.Bool(on), err
	case 3, 4, 6, 7:
	default:
		return undefined()
	}
	store, err := o.store(env)
	if err != nil {
		return dlms.Null(), err
	}
	s, err := store.Load()
	if err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 3:
		return s.Blocks.Data(), nil
	case 4:
		return dlms.Uint32(s.Blocks.First()), nil
	case 6:
		return dlms.Enum(uint8(s.Status)), nil
	}
	return listData(s.Ready), nil
}

func (o *imageTransfer) store(env *Env) (ImageStore, error) {
	if o.cfg.Store == nil {
		return nil, dlms.DataAccessReadWriteDenied
	}
	return o.cfg.Store(env)
}

func (o *imageTransfer) enabled(env *Env) (bool, error) {
	if o.cfg.Enabled == nil {
		return true, nil
	}
	return o.cfg.Enabled(env)
}

// Set writes image_transfer_enabled.
func (o *imageTransfer) Set(env *Env, attribute int8, value dlms.Data) error {
	if attribute != 5 || o.cfg.SetEnabled == nil {
		return dlms.DataAccessReadWriteDenied
	}
	on, err := value.Bool()
	if err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	return o.cfg.SetEnabled(env, on)
}

// Invoke serves image_transfer_initiate (1), image_block_transfer (2), image_verify (3) and image_activate (4).
func (o *imageTransfer) Invoke(env *Env, method int8, parameters dlms.Data) (dlms.Data, error) {
	if method < MethodImageInitiate || method > MethodImageActivate {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	store, err := o.store(env)
	if err != nil {
		return dlms.Null(), err
	}
	on, err := o.enabled(env)
	if err != nil {
		return dlms.Null(), err
	}
	if !on {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	switch method {
	case MethodImageInitiate:
		err = o.initiate(store, parameters)
	case MethodImageBlock:
		err = o.block(store, parameters)
	case MethodImageVerify:
		err = verify(store)
	case MethodImageActivate:
		err = activate(store)
	}
	return dlms.Null(), err
}

func (o *imageTransfer) initiate(store ImageStore, parameters dlms.Data) error {
	start, err := ParseImageStart(parameters)
	if err != nil {
		return dlms.ActionTypeUnmatched
	}
	blocks := (uint64(start.Size) + uint64(o.cfg.BlockSize) - 1) / uint64(o.cfg.BlockSize)
	if start.Size == 0 || start.Size > o.cfg.MaxSize || blocks > uint64(maxImageBlocks) ||
		len(start.Identifier) > maxImageIdentifier {
		return dlms.ActionScopeViolated
	}
	old, err := store.Load()
	if err != nil {
		return err
	}
	if old.Status == ImageActivationStarted {
		return dlms.ActionTemporaryFailure // what the device is about to run stays
	}
	return store.Begin(ImageState{
		Status: ImageInitiated, Identifier: start.Identifier, Size: start.Size, BlockSize: o.cfg.BlockSize,
		Blocks: NewImageBitmap(uint32(blocks)),
	})
}

func (o *imageTransfer) block(store ImageStore, parameters dlms.Data) error {
	b, err := ParseImageBlock(parameters)
	if err != nil {
		return dlms.ActionTypeUnmatched
	}
	s, err := store.Load()
	if err != nil {
		return err
	}
	switch {
	case s.Status != ImageInitiated:
		return dlms.ActionTemporaryFailure
	case b.Number >= s.Blocks.Blocks() || len(b.Value) != s.length(b.Number):
		return dlms.ActionScopeViolated
	case s.Blocks.Has(b.Number):
		return nil // its confirmation was lost
	}
	return store.Put(b.Number, b.Value)
}

// verify serves image_verify: temporary-failure while it goes on, other-reason where the image is not good.
func verify(store ImageStore) error {
	s, err := store.Load()
	if err != nil {
		return err
	}
	switch s.Status {
	case ImageVerified:
		return nil
	case ImageInitiated, ImageVerificationStarted, ImageVerificationFailed:
	default:
		return dlms.ActionTemporaryFailure
	}
	if !s.complete() {
		return dlms.ActionTemporaryFailure
	}
	if err := store.SetStatus(ImageVerificationStarted, nil); err != nil {
		return err
	}
	ready, err := store.Verify()
	switch {
	case errors.Is(err, ErrImagePending):
		return dlms.ActionTemporaryFailure
	case err != nil:
		return errors.Join(dlms.ActionOtherReason, err, store.SetStatus(ImageVerificationFailed, nil))
	}
	return store.SetStatus(ImageVerified, ready)
}

// activate serves image_activate.
func activate(store ImageStore) error {
	s, err := store.Load()
	if err != nil {
		return err
	}
	switch s.Status {
	case ImageActivated:
		return nil
	case ImageVerified, ImageActivationStarted, ImageActivationFailed:
	case ImageInitiated, ImageVerificationStarted:
		if err := verify(store); err != nil {
			return err
		}
		if s, err = store.Load(); err != nil {
			return err
		}
	default:
		return dlms.ActionTemporaryFailure
	}
	if err := store.SetStatus(ImageActivationStarted, s.Ready); err != nil {
		return err
	}
	err = store.Activate()
	switch {
	case errors.Is(err, ErrImagePending):
		return dlms.ActionTemporaryFailure
	case err != nil:
		return errors.Join(dlms.ActionOtherReason, err, store.SetStatus(ImageActivationFailed, s.Ready))
	}
	return store.SetStatus(ImageActivated, s.Ready)
}
