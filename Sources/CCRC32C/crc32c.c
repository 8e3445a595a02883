#include "crc32c.h"
#include <string.h>

static uint32_t table[8][256];
static int hardware;

__attribute__((constructor)) static void prepare(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ ((c & 1) ? 0x82F63B78u : 0);
    table[0][i] = c;
  }
  for (int t = 1; t < 8; t++)
    for (int i = 0; i < 256; i++)
      table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 0xFF];
#if defined(__x86_64__)
  hardware = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t software(uint32_t c, const uint8_t *p, size_t n) {
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t v;
    memcpy(&v, p, 8);
    v ^= c;
    c = table[7][v & 0xFF] ^ table[6][(v >> 8) & 0xFF] ^ table[5][(v >> 16) & 0xFF] ^
        table[4][(v >> 24) & 0xFF] ^ table[3][(v >> 32) & 0xFF] ^ table[2][(v >> 40) & 0xFF] ^
        table[1][(v >> 48) & 0xFF] ^ table[0][v >> 56];
  }
  for (; n; p++, n--) c = (c >> 8) ^ table[0][(c ^ *p) & 0xFF];
  return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t accelerated(uint32_t c, const uint8_t *p,
                                                              size_t n) {
  uint64_t w = c;
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t v;
    memcpy(&v, p, 8);
    w = __builtin_ia32_crc32di(w, v);
  }
  c = (uint32_t)w;
  for (; n; p++, n--) c = __builtin_ia32_crc32qi(c, *p);
  return c;
}
#endif

uint32_t exzo_crc32c(uint32_t crc, const void *bytes, size_t length) {
  crc = ~crc;
#if defined(__x86_64__)
  if (hardware) return ~accelerated(crc, bytes, length);
#endif
  return ~software(crc, bytes, length);
}
