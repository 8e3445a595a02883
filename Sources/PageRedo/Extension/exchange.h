/* The memory that a redo worker shares with the pool: see docs/formats/redo-exchange.md. */
#ifndef EXZO_PAGE_REDO_EXCHANGE_H
#define EXZO_PAGE_REDO_EXCHANGE_H

#define EXCHANGE_MAGIC 0x44525845 /* "EXRD" */
#define EXCHANGE_VERSION 1
#define EXCHANGE_FILE "exchange"

typedef struct ExchangeHeader
{
  uint32 magic;
  uint32 version;
  uint32 requests;  /* in the batch */
  uint32 seconds;   /* the batch's time limit */
  uint64 used;      /* bytes, this header included */
  uint32 completed; /* written by the worker: requests whose outcome is final */
  uint32 reserved[9];
} ExchangeHeader;

typedef enum Outcome
{
  OUTCOME_NONE = 0,    /* not run */
  OUTCOME_PAGE = 1,    /* the page at the end of its records */
  OUTCOME_ZERO = 2,    /* nothing initialised the page: all zeros */
  OUTCOME_REFUSED = 3, /* the request was not fit for redo; the page's place holds the reason */
  OUTCOME_FAILED = 4   /* redo itself raised an error; likewise; the worker has ended */
} Outcome;

#define FLAG_LOGS_HINTS 1 /* data checksums or wal_log_hints were on where the records come from */
#define FLAG_CHECKSUM 2   /* store a data checksum in the page */

typedef struct ExchangeRequest
{
  uint64 length; /* header, page and records: a multiple of 8 */
  uint32 tablespace;
  uint32 database;
  uint32 relation;
  uint32 block;
  uint32 fork;
  uint32 flags;
  uint32 records;
  uint32 outcome;
  uint64 record_lsn; /* where the record at work, or the one that failed, begins */
  uint64 page_lsn;
  uint32 applied; /* records after which the page carries their LSN */
  uint32 already; /* records that the page held before */
  char page[BLCKSZ];
} ExchangeRequest;

typedef struct ExchangeRecord
{
  uint64 start_lsn;
  uint64 end_lsn;
  uint32 length; /* xl_tot_len */
  uint32 reserved;
  /* the record's bytes, padded to a multiple of 8 */
} ExchangeRecord;

#endif
