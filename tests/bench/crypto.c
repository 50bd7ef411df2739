/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crypto sha256|aes MIB: hashes or encrypts that much memory by OpenSSL's library and prints what came out. The few
 * functions are declared here: the library comes from its package, without headers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned char *SHA256(const unsigned char *data, size_t size, unsigned char *digest);
void *EVP_CIPHER_CTX_new(void);
const void *EVP_aes_128_ctr(void);
int EVP_EncryptInit_ex(void *ctx, const void *cipher, void *engine, const unsigned char *key, const unsigned char *iv);
int EVP_EncryptUpdate(void *ctx, unsigned char *out, int *ret_size, const unsigned char *in, int size);

#define BLOCK 65536

static unsigned char block[BLOCK];

static void sha256(unsigned long mib)
{
    unsigned char digest[32];

    for (unsigned long i = 0; i < mib * 16; i++) {
        SHA256(block, BLOCK, digest);
        memcpy(block + i % (BLOCK - 32), digest, 32);
    }
}

static int aes(unsigned long mib)
{
    void *ctx = EVP_CIPHER_CTX_new();
    int size;

    if (ctx == NULL || !EVP_EncryptInit_ex(ctx, EVP_aes_128_ctr(), NULL, block + 16, block + 32))
        return 1;
    for (unsigned long i = 0; i < mib * 16; i++) {
        if (!EVP_EncryptUpdate(ctx, block, &size, block, BLOCK) || size != BLOCK)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned char digest[32];

    for (unsigned i = 0; i < BLOCK; i++)
        block[i] = (unsigned char)(i * 13 + (i >> 8));
    if (argc == 3 && strcmp(argv[1], "sha256") == 0)
        sha256(strtoul(argv[2], NULL, 10));
    else if (argc != 3 || strcmp(argv[1], "aes") != 0 || aes(strtoul(argv[2], NULL, 10)) != 0)
        return 2;
    SHA256(block, BLOCK, digest);
    for (unsigned i = 0; i < sizeof(digest); i++)
        printf("%02x", digest[i]);
    putchar('\n');
    return 0;
}
