/* Brings pages to a moment with PostgreSQL's own redo functions.
 *
 * Loaded by `shared_preload_libraries` into `postgres --single`, this library takes the process over
 * where shared memory has just been made: the buffer pool exists, recovery has not begun and never
 * will, no catalog is ever read. The process is then in the state of the startup process in crash
 * recovery, in which no WAL can be written. It serves batches until its channel (descriptor 1, a
 * socket) is closed. The batches lie in the file `exchange` of the data directory, mapped by both
 * sides. */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "catalog/pg_control.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/checksum.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "blocks.h"
#include "exchange.h"
#include "sandbox.h"
#include "versions.h"

#pragma GCC visibility push(default)
PG_MODULE_MAGIC;

extern void _PG_init(void);
#pragma GCC visibility pop

#define CHANNEL 1
#define READY 'r'
#define DONE 'd'
#define ENDED 'e'

static shmem_startup_hook_type previous_hook;
static ExchangeHeader *exchange;
static size_t exchange_size;
static XLogReaderState *reader;
static DecodedXLogRecord *decoded;
static size_t decoded_size;
static MemoryContext redo_context;

static void map_exchange(void)
{
  struct stat status;
  int file = open(EXCHANGE_FILE, O_RDWR | O_CLOEXEC);

  if (file < 0 || fstat(file, &status) != 0)
    elog(FATAL, "open '%s': %m", EXCHANGE_FILE);
  exchange_size = status.st_size;
  exchange = mmap(NULL, exchange_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (exchange == MAP_FAILED)
    elog(FATAL, "map '%s': %m", EXCHANGE_FILE);
  close(file);
}

static void refuse(ExchangeRequest *request, const char *reason)
{
  request->outcome = OUTCOME_REFUSED;
  strlcpy(request->page, reason, BLCKSZ);
}

/* Whether a record's effects are all in the pages of relations. */
static bool changes_pages_only(const XLogRecord *record)
{
  uint8 opcode = record->xl_info & ~XLR_INFO_MASK;

  switch (record->xl_rmid)
  {
    case RM_XLOG_ID:
      return opcode == XLOG_FPI || opcode == XLOG_FPI_FOR_HINT;
    case RM_HEAP_ID:
    case RM_HEAP2_ID:
      return !IS_REWRITE_MAPPING(record->xl_rmid, record->xl_info);
    case RM_BTREE_ID:
    case RM_HASH_ID:
    case RM_GIN_ID:
    case RM_GIST_ID:
    case RM_SEQ_ID:
    case RM_SPGIST_ID:
    case RM_BRIN_ID:
    case RM_GENERIC_ID:
      return true;
    default:
      return false;
  }
}

static const char *decode(const ExchangeRecord *source)
{
  XLogRecord *record = (XLogRecord *) (source + 1);
  size_t space;
  char *problem = NULL;

  if (source->length < SizeOfXLogRecord || record->xl_tot_len != source->length)
    return "record of a wrong length";
  if (!changes_pages_only(record))
    return "record of a kind that does not change pages only";
  space = DecodeXLogRecordRequiredSpace(record->xl_tot_len);
  if (space > decoded_size)
  {
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

    if (decoded != NULL)
      pfree(decoded);
    decoded = NULL;
    decoded = palloc(space);
    decoded_size = space;
    MemoryContextSwitchTo(caller);
  }
  reader->ReadRecPtr = source->start_lsn;
  reader->EndRecPtr = source->end_lsn;
  if (!DecodeXLogRecord(reader, decoded, record, source->start_lsn, &problem))
    return problem != NULL ? problem : "record that cannot be decoded";
  decoded->next_lsn = source->end_lsn;
  reader->record = decoded;
  return NULL;
}

/* Restores the page asked for from a record that consists of page images; the others are not
 * looked at. What xlog_redo does for each of them. */
static const char *restore_image(int id)
{
  Buffer buffer;

  if (!decoded->blocks[id].has_image)
    return (decoded->header.xl_info & ~XLR_INFO_MASK) == XLOG_FPI ? "record without its image"
                                                                  : NULL;
  if (XLogReadBufferForRedo(reader, id, &buffer) != BLK_RESTORED)
    elog(ERROR, "a page image was not restored");
  UnlockReleaseBuffer(buffer);
  return NULL;
}

static const char *redo_record(ExchangeRequest *request, const ExchangeRecord *source)
{
  DecodedBkpBlock *named;
  XLogRecPtr before;
  const char *problem = decode(source);

  if (problem == NULL)
    problem = prepare_blocks(decoded, &named);
  if (problem == NULL && named != NULL && named->forknum != VISIBILITYMAP_FORKNUM &&
      PageIsNew(target_page()) && !named->apply_image &&
      (named->flags & BKPBLOCK_WILL_INIT) == 0)
    problem = "record changes a page that nothing initialised before";
  if (problem != NULL)
  {
    drop_others();
    return problem;
  }
  before = PageGetLSN(target_page());
  if (decoded->header.xl_rmid == RM_XLOG_ID)
    problem = restore_image(named - decoded->blocks);
  else
    GetRmgr(decoded->header.xl_rmid).rm_redo(reader);
  drop_others();
  MemoryContextReset(redo_context);
  if (PageGetLSN(target_page()) == reader->EndRecPtr && before < reader->EndRecPtr)
    request->applied++;
  else if (named != NULL && before >= reader->EndRecPtr)
    request->already++;
  return problem;
}

static const char *redo_records(ExchangeRequest *request)
{
  char *position = (char *) (request + 1);
  char *end = (char *) request + request->length;
  XLogRecPtr reached = 0;

  for (uint32 i = 0; i < request->records; i++)
  {
    ExchangeRecord *record = (ExchangeRecord *) position;
    const char *problem;

    if (end - position < (ptrdiff_t) sizeof(ExchangeRecord) ||
        end - position - sizeof(ExchangeRecord) < record->length)
      return "records beyond the request's end";
    request->record_lsn = record->start_lsn;
    if (record->start_lsn < reached || record->end_lsn <= record->start_lsn)
      return "records out of order";
    reached = record->end_lsn;
    problem = redo_record(request, record);
    if (problem != NULL)
      return problem;
    position += sizeof(ExchangeRecord) + TYPEALIGN(8, record->length);
  }
  return NULL;
}

static bool is_all_zero(const char *page)
{
  const uint64 *words = (const uint64 *) page;
  uint64 seen = 0;

  for (int i = 0; i < BLCKSZ / 8; i++)
    seen |= words[i];
  return seen == 0;
}

static void finish(ExchangeRequest *request)
{
  Page page = (Page) request->page;

  if (PageIsNew(page))
  {
    if (is_all_zero(request->page))
      request->outcome = OUTCOME_ZERO;
    else
      refuse(request, "page without a header that is not all zeros");
    return;
  }
  request->page_lsn = PageGetLSN(page);
  if (request->flags & FLAG_CHECKSUM)
    ((PageHeader) page)->pd_checksum = pg_checksum_page(request->page, request->block);
  request->outcome = OUTCOME_PAGE;
}

static void redo_request(ExchangeRequest *request)
{
  const char *problem;
  char *page = request->page;

  request->applied = request->already = 0;
  request->record_lsn = request->page_lsn = 0;
  if (request->fork > MAX_FORKNUM || request->fork == FSM_FORKNUM ||
      request->block >= MaxBlockNumber)
  {
    refuse(request, "no page that WAL records can describe");
    return;
  }
  wal_log_hints = (request->flags & FLAG_LOGS_HINTS) != 0;
  install_target(request);
  problem = redo_records(request);
  remove_target(page);
  if (problem != NULL)
    refuse(request, problem);
  else
    finish(request);
}

/* Returns false after an error of redo's own: then nothing of this process is trusted any more. */
static bool run_batch(void)
{
  char *position = (char *) (exchange + 1);
  ExchangeRequest *volatile request = NULL;
  volatile bool succeeded = true;

  PG_TRY();
  {
    while (exchange->completed < exchange->requests)
    {
      request = (ExchangeRequest *) position;
      position += request->length;
      redo_request(request);
      exchange->completed++;
    }
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(redo_context);
    request->outcome = OUTCOME_FAILED;
    strlcpy(request->page, CopyErrorData()->message, BLCKSZ);
    exchange->completed++;
    succeeded = false;
  }
  PG_END_TRY();
  return succeeded;
}

static void tell(char word)
{
  while (write(CHANNEL, &word, 1) < 0)
    if (errno != EINTR)
      _exit(1); /* nobody listens any more */
}

/* Blocks for the next batch. The process ends when the channel is closed. */
static void await_batch(void)
{
  char word;
  ssize_t count;

  do
    count = read(CHANNEL, &word, 1);
  while (count < 0 && errno == EINTR);
  if (count != 1)
    _exit(0);
  if (exchange->magic != EXCHANGE_MAGIC || exchange->version != EXCHANGE_VERSION ||
      exchange->used > exchange_size)
    elog(FATAL, "batch of another format");
}

static void default_signals(void)
{
  sigset_t none;

  for (int number = 1; number < 32; number++)
    if (number != SIGKILL && number != SIGSTOP)
      signal(number, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static void become_recovery(void)
{
  InitProcess();
  BaseInit();
  CreateAuxProcessResourceOwner();
  InRecovery = true;
  max_safe_fds = 1000; /* no descriptor is ever closed to make room, for none can be opened again */
  RmgrStartup();
  open_relations();
  reader = XLogReaderAllocate(wal_segment_size, NULL, XL_ROUTINE(), NULL);
  redo_context = AllocSetContextCreate(TopMemoryContext, "page redo", ALLOCSET_DEFAULT_SIZES);
}

static void serve(void)
{
  if (previous_hook)
    previous_hook();
  forget_shared_memory_key();
  default_signals();
  map_exchange();
  become_recovery();
  whereToSendOutput = DestNone;
  enter_sandbox();
  MemoryContextSwitchTo(redo_context);
  tell(READY);
  for (;;)
  {
    bool succeeded;

    await_batch();
    /* Whoever gave the batch may be gone: this process then ends by itself. */
    alarm(exchange->seconds);
    succeeded = run_batch();
    alarm(0);
    tell(succeeded ? DONE : ENDED);
    if (!succeeded)
      _exit(3);
  }
}

void _PG_init(void)
{
  if (IsUnderPostmaster || !process_shared_preload_libraries_in_progress)
    elog(ERROR, "exzo_page_redo is for redo workers only: load it with shared_preload_libraries");
  previous_hook = shmem_startup_hook;
  shmem_startup_hook = serve;
}
