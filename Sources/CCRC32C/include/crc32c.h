#ifndef EXZO_CRC32C_H
#define EXZO_CRC32C_H
#include <stddef.h>
#include <stdint.h>
/// CRC-32C (Castagnoli) of `length` bytes, continuing from `crc` (0 to start), in the finished
/// form that PostgreSQL stores (initial value and final XOR of all ones).
uint32_t exzo_crc32c(uint32_t crc, const void *bytes, size_t length);
#endif
