/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/nvme_tcp/chap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/dh.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/endian.h"

enum { NQN_BYTES_MAX = 256, BASE64_BYTES = 92 }; /* of 64 bytes and their CRC, padded */

static const EVP_MD *digest_of(unsigned hash)
{
	switch (hash) {
	case CHAP_SHA256:
		return EVP_sha256();
	case CHAP_SHA384:
		return EVP_sha384();
	case CHAP_SHA512:
		return EVP_sha512();
	default:
		return NULL;
	}
}

unsigned chap_hash_bytes(unsigned hash)
{
	static const unsigned bytes[] = {0, 32, 48, 64};

	return hash < ARRAY_SIZE(bytes) ? bytes[hash] : 0;
}

/* clang-format off */
static const struct {
	unsigned bytes;
	const char *name;
} groups[] = {
	[CHAP_FFDHE2048] = {256,  "ffdhe2048"},
	[CHAP_FFDHE3072] = {384,  "ffdhe3072"},
	[CHAP_FFDHE4096] = {512,  "ffdhe4096"},
	[CHAP_FFDHE6144] = {768,  "ffdhe6144"},
	[CHAP_FFDHE8192] = {1024, "ffdhe8192"},
};
/* clang-format on */

unsigned chap_group_bytes(unsigned group)
{
	return group < ARRAY_SIZE(groups) ? groups[group].bytes : 0;
}

void chap_wipe(void *bytes, size_t count)
{
	OPENSSL_cleanse(bytes, count);
}

bool chap_equal(const uint8_t *one, const uint8_t *other, size_t count)
{
	return !CRYPTO_memcmp(one, other, count);
}

/* --- secrets (base 8.3.5.5.8) ---------------------------------------------------------------- */

/* The CRC-32 of Ethernet and zlib, which is not the crc32c of base/. */
static uint32_t crc32(const uint8_t *bytes, size_t count)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < count; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

/* BASE64 into bytes (room for 3 of 4 characters); returns their number, 0: it is none. */
static unsigned decode(uint8_t *bytes, const char *text, size_t length)
{
	int count = length % 4 ? -1 : EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)length);

	if (count < 4)
		return 0;
	/* EVP_DecodeBlock counts what the padding stands for. */
	return (unsigned)count - (text[length - 1] == '=') - (text[length - 2] == '=');
}

int chap_secret_parse(
	struct chap_secret *secret, const char *text, const char *what, struct fail *fail)
{
	uint8_t bytes[BASE64_BYTES];
	size_t length = strcspn(text, "\r\n");
	unsigned count, transform;
	le32 crc;
	bool good;

	*secret = (struct chap_secret){0};
	if (length < 12 || length > 11 + BASE64_BYTES || strncmp(text, "DHHC-1:0", 8) != 0 ||
		text[8] < '0' || text[8] > '3' || text[9] != ':' || text[length - 1] != ':')
		return fail_set(fail, EINVAL,
			"%s holds no secret for DH-HMAC-CHAP: that is one line such as "
			"DHHC-1:00:...:, made by 'nvme gen-dhchap-key'",
			what);
	transform = (unsigned)(text[8] - '0');
	count = decode(bytes, text + 10, length - 11);
	good = count == 36 || count == 52 || count == 68; /* with 4 bytes of CRC */
	if (good) {
		count -= (unsigned)sizeof(crc);
		memcpy(&crc, bytes + count, sizeof(crc));
		good = le32_get(crc) == crc32(bytes, count) &&
		       (!transform || count == chap_hash_bytes(transform));
	}
	if (good) {
		secret->transform = transform;
		secret->bytes = count;
		memcpy(secret->key, bytes, count);
	}
	chap_wipe(bytes, sizeof(bytes));
	return good ? 0
		    : fail_set(fail, EINVAL,
			      "the secret in %s is damaged: its length or its checksum is wrong; "
			      "copy it again, all of the line",
			      what);
}

int chap_secret_read(struct chap_secret *secret, const char *path, struct fail *fail)
{
	char text[CHAP_SECRET_TEXT_BYTES] = "";
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;
	ssize_t got;
	int error;

	if (fd < 0 || fstat(fd, &status))
		return fail_set(
			fail, errno, "cannot read the secret in %s: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fail_set(
			fail, EINVAL, "the secret in %s cannot be read: it is no file", path);
	if (status.st_mode & (S_IRWXG | S_IRWXO))
		return fail_set(fail, EACCES,
			"others may read the secret in %s: give it to its owner alone, chmod 600 "
			"%s",
			path, path);
	got = read(fd, text, sizeof(text) - 1);
	error = got < 0 ? fail_set(fail, EIO, "cannot read the secret in %s: %s", path,
				  strerror(errno))
			: chap_secret_parse(secret, text, path, fail);
	chap_wipe(text, sizeof(text));
	return error;
}

/* --- responses (base 8.3.5.5.4, 8.3.5.5.5) --------------------------------------------------- */

struct message {
	size_t bytes;
	uint8_t text[CHAP_HASH_BYTES_MAX + 32 + 2 * NQN_BYTES_MAX];
};

static void append(struct message *message, const void *bytes, size_t count)
{
	assert(count <= sizeof(message->text) - message->bytes);
	memcpy(message->text + message->bytes, bytes, count);
	message->bytes += count;
}

static bool hmac(unsigned hash, const void *key, size_t key_bytes, const struct message *message,
	uint8_t *result)
{
	return HMAC(
		digest_of(hash), key, (int)key_bytes, message->text, message->bytes, result, NULL);
}

/* K' of the one who answers. */
static bool transform(const struct chap_secret *secret, const char *nqn, uint8_t *key)
{
	struct message message = {0};

	memcpy(key, secret->key, secret->bytes);
	if (!secret->transform)
		return true;
	append(&message, nqn, strlen(nqn));
	append(&message, "NVMe-over-Fabrics", strlen("NVMe-over-Fabrics"));
	return hmac(secret->transform, secret->key, secret->bytes, &message, key);
}

int chap_respond(
	const struct chap_question *question, const struct chap_secret *secret, uint8_t *response)
{
	const char *role = question->of_controller ? "Controller" : "HostHost";
	unsigned bytes = chap_hash_bytes(question->hash);
	uint8_t key[CHAP_HASH_BYTES_MAX], challenge[CHAP_HASH_BYTES_MAX];
	le32 sequence = le32_of(question->sequence);
	le16 transaction = le16_of(question->transaction);
	struct message asked = {0}, message = {0};
	bool good;

	assert(bytes && secret->bytes);
	append(&asked, question->challenge, bytes);
	memcpy(challenge, question->challenge, bytes);
	good = !question->session_key ||
	       hmac(question->hash, question->session_key, bytes, &asked, challenge);
	append(&message, challenge, bytes);
	append(&message, &sequence, sizeof(sequence));
	append(&message, &transaction, sizeof(transaction));
	append(&message, "", 1); /* SC_C: no secure channel */
	append(&message, role, strlen(role));
	append(&message, question->responder, strlen(question->responder) + 1);
	append(&message, question->requester, strlen(question->requester));
	good = good && transform(secret, question->responder, key) &&
	       hmac(question->hash, key, secret->bytes, &message, response);
	chap_wipe(key, sizeof(key));
	return good ? 0 : -EIO;
}

/* --- Diffie-Hellman (base 8.3.5.5.9) --------------------------------------------------------- */

struct chap_pair {
	EVP_PKEY *key;
	unsigned bytes; /* of a public value */
};

struct chap_pair *chap_pair_create(enum chap_group group)
{
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0), OSSL_PARAM_END};
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	struct chap_pair *pair = calloc(1, sizeof(*pair));

	assert(chap_group_bytes(group));
	parameters[0].data = (char *)groups[group].name;
	parameters[0].data_size = strlen(groups[group].name);
	if (!pair || !context || EVP_PKEY_keygen_init(context) <= 0 ||
		EVP_PKEY_CTX_set_params(context, parameters) <= 0 ||
		EVP_PKEY_generate(context, &pair->key) <= 0) {
		free(pair);
		pair = NULL;
	} else {
		pair->bytes = chap_group_bytes(group);
	}
	EVP_PKEY_CTX_free(context);
	return pair;
}

void chap_pair_free(struct chap_pair *pair)
{
	if (!pair)
		return;
	EVP_PKEY_free(pair->key);
	free(pair);
}

int chap_pair_public(const struct chap_pair *pair, uint8_t *value)
{
	uint8_t *encoded = NULL;
	size_t bytes = EVP_PKEY_get1_encoded_public_key(pair->key, &encoded);
	int error = bytes == pair->bytes ? 0 : -EIO;

	if (!error)
		memcpy(value, encoded, bytes);
	OPENSSL_free(encoded);
	return error;
}

int chap_pair_agree(const struct chap_pair *pair, const uint8_t *other, enum chap_hash hash,
	uint8_t *session_key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, pair->key, NULL);
	uint8_t shared[CHAP_PUBLIC_BYTES_MAX];
	size_t bytes = sizeof(shared);
	EVP_PKEY *peer = EVP_PKEY_new();
	int error = -EIO;

	/* Padded: with its leading zeros the number is as long as p. */
	if (!context || !peer || EVP_PKEY_copy_parameters(peer, pair->key) <= 0 ||
		EVP_PKEY_derive_init(context) <= 0 || EVP_PKEY_CTX_set_dh_pad(context, 1) <= 0)
		goto free_keys;
	error = -EPROTO;
	/* set_peer also checks that the value is in the group, neither 0, 1 nor p - 1. */
	if (EVP_PKEY_set1_encoded_public_key(peer, other, pair->bytes) <= 0 ||
		EVP_PKEY_derive_set_peer(context, peer) <= 0)
		goto free_keys;
	error = -EIO;
	if (EVP_PKEY_derive(context, shared, &bytes) > 0 && bytes == pair->bytes &&
		EVP_Digest(shared, bytes, session_key, NULL, digest_of(hash), NULL))
		error = 0;
	chap_wipe(shared, sizeof(shared));

free_keys:
	EVP_PKEY_free(peer);
	EVP_PKEY_CTX_free(context);
	return error;
}
