/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DH-HMAC-CHAP: responses against ones that Python's hmac, hashlib and zlib have made of the
 * formulas in chap.h; the exchange of keys against libcrypto's plain arithmetic, with the prime of
 * ffdhe2048 made by the formula of RFC 7919; secrets that are none.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "drivers/nvme_tcp/chap.h"

#define HOST "nqn.2014-08.org.example:host"
#define CONTROLLER "nqn.2014-08.org.example:mock"
#define SECRET "DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:"

static void from_hex(uint8_t *bytes, const char *hex)
{
	unsigned value;

	for (; sscanf(hex, "%2x", &value) == 1; hex += 2)
		*bytes++ = (uint8_t)value;
}

/* As Python made them: byte i is first + 7 * i. */
static void count_up(uint8_t *bytes, unsigned count, unsigned first)
{
	for (unsigned i = 0; i < count; i++)
		bytes[i] = (uint8_t)(first + 7 * i);
}

/* --- responses ------------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
	const char *secret;
	enum chap_hash hash;
	bool session, of_controller;
	const char *response;
} vectors[] = {
	{SECRET, CHAP_SHA256, false, false,
	 "4c97c4afaeea86ec6ab10b3acb9f8f374a15eb761bbec2b226b9cb52b89ac8f7"},
	{"DHHC-1:01:BAsSGSAnLjU8Q0pRWF9mbXR7gomQl56lrLO6wcjP1t39By5T:", CHAP_SHA256, false, true,
	 "9acc571aeeff038dafcc8c2871f9763c3e2f030458d318d7e7f25a8591b1c4c2"},
	{"DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dzj6vH4/wYNFBsiKTA3PkVMRdxyRQ==:",
	 CHAP_SHA384, true, false,
	 "b8f997fe345acf946fed61657d326d8545a2cd192fe830447fe5a424bdf1f8205520735da1540502060a49788e4a4e42"},
	{"DHHC-1:02:BQwTGiEoLzY9REtSWWBnbnV8g4qRmJ+mrbS7wsnQ197l7PP6AQgPFh0kKzI5QEdO0rntOQ==:",
	 CHAP_SHA512, true, true,
	 "a3932b412225d315fa18051773b731d8d82c9de33619f65f3a29ad584a7ad8d4"
	 "cf248b602fe8dbbc5251b32e6eaad51ec1be1e489291ef27224b0414c8a071e2"},
	{"DHHC-1:03:Bg0UGyIpMDc+RUxTWmFob3Z9hIuSmaCnrrW8w8rR2N/m7fT7AgkQFx4lLDM6QUhPVl1ka3J5gIeOlZyjqrG4vwO+xZg=:",
	 CHAP_SHA384, false, false,
	 "3c4b851cbedf356f4502adaaec38dfa63f4b94955830b7e2aaa805c20828b056e564848fedcebb61c106ca3ca3f2745e"},
	{"DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dzj6vH4/wYNFBsiKTA3PkVMU1phaG92fYSLkpmgp661vPDs2cs=:",
	 CHAP_SHA512, true, true,
	 "89161a8627c1f0906e1b245aa9f03f2c30e3e0adf8c763a923e0266678bae2e3"
	 "971b4b04d40b5eb7fcef8b80a21962b3adf31b0cf70a1af78ce16461eada8267"},
};
/* clang-format on */

static void test_responses(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
		bool of_controller = vectors[i].of_controller;
		uint8_t challenge[64], key[64], expected[64], response[64];
		struct chap_question question = {
			.hash = vectors[i].hash,
			.sequence = 0x12345678,
			.transaction = 0xabcd,
			.of_controller = of_controller,
			.responder = of_controller ? CONTROLLER : HOST,
			.requester = of_controller ? HOST : CONTROLLER,
			.challenge = challenge,
			.session_key = vectors[i].session ? key : NULL,
		};
		unsigned bytes = chap_hash_bytes(question.hash);
		struct chap_secret secret;
		struct fail fail = {0};

		count_up(challenge, bytes, 101);
		count_up(key, bytes, 57);
		from_hex(expected, vectors[i].response);
		expect(!chap_secret_parse(&secret, vectors[i].secret, "it", &fail), "%s",
			fail.text);
		assert_int_equal(chap_respond(&question, &secret, response), 0);
		expect(!memcmp(response, expected, bytes), "vector %u", i);
		assert_true(chap_equal(response, expected, bytes));
		expected[bytes - 1] ^= 1;
		assert_false(chap_equal(response, expected, bytes));
	}
}

/* --- the exchange of keys -------------------------------------------------------------------- */

static const char ffdhe2048[] = "ffffffffffffffffadf85458a2bb4a9aafdc5620273d3cf1d8b9c583ce2d3695"
				"a9e13641146433fbcc939dce249b3ef97d2fe363630c75d8f681b202aec4617a"
				"d3df1ed5d5fd65612433f51f5f066ed0856365553ded1af3b557135e7f57c935"
				"984f0c70e0e68b77e2a689daf3efe8721df158a136ade73530acca4f483a797a"
				"bc0ab182b324fb61d108a94bb2c8e3fbb96adab760d7f4681d4f42a3de394df4"
				"ae56ede76372bb190b07a7c8ee0a6d709e02fce1cdf7e2ecc03404cd28342f61"
				"9172fe9ce98583ff8e4f1232eef28183c3fe3b1b4c6fad733bb5fcbc2ec22005"
				"c58ef1837d1683b2c6f34a26c1b2effa886b423861285c97ffffffffffffffff";

/* Exchanges with x^y mod p, done plainly; returns how the number that both know begins. */
static uint8_t exchange_plainly(struct chap_pair *pair, BN_ULONG exponent, BN_CTX *context)
{
	BIGNUM *prime = NULL, *base = BN_new(), *other = BN_new(), *power = BN_new();
	uint8_t public[256], sent[256], shared[256], expected[32], key[32];

	BN_hex2bn(&prime, ffdhe2048);
	BN_set_word(base, 2);
	BN_set_word(power, exponent);
	BN_mod_exp(other, base, power, prime, context);
	BN_bn2binpad(other, sent, sizeof(sent));
	assert_int_equal(chap_pair_public(pair, public), 0);
	BN_bin2bn(public, sizeof(public), base);
	BN_mod_exp(other, base, power, prime, context);
	BN_bn2binpad(other, shared, sizeof(shared));
	EVP_Digest(shared, sizeof(shared), expected, NULL, EVP_sha256(), NULL);
	assert_int_equal(chap_pair_agree(pair, sent, CHAP_SHA256, key), 0);
	assert_memory_equal(key, expected, sizeof(key));
	BN_free(prime);
	BN_free(base);
	BN_free(other);
	BN_free(power);
	return shared[0];
}

/* Also with numbers that begin with a zero: it counts. */
static void test_plain_exchange(void **state)
{
	struct chap_pair *pair = chap_pair_create(CHAP_FFDHE2048);
	BN_CTX *context = BN_CTX_new();
	unsigned zeros = 0;

	(void)state;
	for (unsigned i = 0; i < 20000 && (i < 4 || !zeros); i++)
		zeros += !exchange_plainly(pair, 0x1000000000000001 + i, context);
	assert_true(zeros);
	BN_CTX_free(context);
	chap_pair_free(pair);
}

static void test_groups(void **state)
{
	static const unsigned sizes[] = {0, 256, 384, 512, 768, 1024};

	(void)state;
	assert_int_equal(chap_group_bytes(CHAP_NO_GROUP), 0);
	assert_int_equal(chap_group_bytes(6), 0);
	assert_int_equal(chap_hash_bytes(CHAP_NO_HASH), 0);
	assert_int_equal(chap_hash_bytes(4), 0);
	for (unsigned group = CHAP_FFDHE2048; group <= CHAP_FFDHE8192; group++) {
		struct chap_pair *one = chap_pair_create(group), *other = chap_pair_create(group);
		static uint8_t a[1024], b[1024], zero[1024], unit[1024], ones[1024];
		unsigned bytes = chap_group_bytes(group);
		uint8_t key[2][64] = {0};

		memset(ones, 0xff, sizeof(ones));
		unit[bytes - 1] = 1;
		assert_int_equal(bytes, sizes[group]);
		assert_int_equal(chap_pair_public(one, a), 0);
		assert_int_equal(chap_pair_public(other, b), 0);
		assert_int_equal(chap_pair_agree(one, b, CHAP_SHA512, key[0]), 0);
		assert_int_equal(chap_pair_agree(other, a, CHAP_SHA512, key[1]), 0);
		assert_memory_equal(key[0], key[1], sizeof(key[0]));
		assert_int_equal(chap_pair_agree(one, zero, CHAP_SHA256, key[0]), -EPROTO);
		assert_int_equal(chap_pair_agree(one, unit, CHAP_SHA256, key[0]), -EPROTO);
		assert_int_equal(chap_pair_agree(one, ones, CHAP_SHA256, key[0]), -EPROTO);
		unit[bytes - 1] = 0;
		chap_pair_free(one);
		chap_pair_free(other);
	}
}

/* --- secrets --------------------------------------------------------------------------------- */

static void test_wrong_secrets(void **state)
{
	static const char *const none[] = {"", "hello", "DHHC-1", "DHHC-1:00:", "DHHC-1:00::",
		"DHHC-1:04:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:",
		"DHHC-2:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:",
		"DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h", SECRET " "};
	static const char *const damaged[] = {
		"DHHC-1:00:BwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:", /* a digit */
		"DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6:",  /* one is missing */
		"DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyV:",
		"DHHC-1:00:!!!!GB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:",
		"DHHC-1:02:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:", /* short */
	};
	struct chap_secret secret;
	struct fail fail;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		assert_int_equal(chap_secret_parse(&secret, none[i], "x", &fail), -EINVAL);
		assert_non_null(strstr(fail.text, "x holds no secret"));
		assert_int_equal(secret.bytes, 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(damaged); i++) {
		assert_int_equal(chap_secret_parse(&secret, damaged[i], "x", &fail), -EINVAL);
		assert_non_null(strstr(fail.text, "the secret in x is damaged"));
		assert_null(strstr(fail.text, "GB8m"));
		assert_int_equal(secret.bytes, 0);
	}
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void test_files(void **state)
{
	char folder[] = "/tmp/braid-chap.XXXXXX", path[64];
	struct chap_secret secret;
	struct fail fail = {0};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/secret", folder);
	assert_int_equal(chap_secret_read(&secret, path, &fail), -ENOENT);
	assert_int_equal(chap_secret_read(&secret, folder, &fail), -EINVAL);
	write_file(path, SECRET "\n", 0600);
	expect(!chap_secret_read(&secret, path, &fail), "%s", fail.text);
	assert_int_equal(secret.bytes, 32);
	assert_int_equal(secret.key[0], 3);
	write_file(path, SECRET "\nand more", 0400);
	expect(!chap_secret_read(&secret, path, &fail), "%s", fail.text);
	write_file(path, SECRET, 0640);
	assert_int_equal(chap_secret_read(&secret, path, &fail), -EACCES);
	assert_non_null(strstr(fail.text, "others may read the secret"));
	write_file(path, SECRET, 0604);
	assert_int_equal(chap_secret_read(&secret, path, &fail), -EACCES);
	write_file(path, "", 0600);
	assert_int_equal(chap_secret_read(&secret, path, &fail), -EINVAL);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_plain_exchange),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_wrong_secrets),
		cmocka_unit_test(test_files),
	};

	unit_start();
	return cmocka_run_group_tests_name("chap", tests, NULL, NULL);
}
