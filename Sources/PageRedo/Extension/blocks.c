#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "catalog/pg_tablespace_d.h"
#include "common/relpath.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/fsm_internals.h"
#include "storage/smgr.h"

#include "versions.h"

#include "blocks.h"

/* Relations that a record may name besides the target's. A generic record names at most four. */
#define STRANGERS 4
#define FIRST_RELATION 16384

/* Heap blocks of one block of the visibility map. Source: visibilitymap.c. */
#define HEAP_BLOCKS_PER_MAP_BLOCK ((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * BITS_PER_BYTE / 2)

/* Depth of the free space map's tree. Source: FSM_TREE_DEPTH in freespace.c. */
#define SPACE_MAP_DEPTH ((LeafNodesPerPage >= 1626) ? 3 : 4)

/* Bytes behind which a stand-in keeps zeros, where code may look for a special space. */
#define STAND_IN_SPECIAL 64

typedef struct Place
{
  SMgrRelation relation;
  ForkNumber fork;
  BlockNumber block;
} Place;

/* [0] stands for the relation of the page asked for, the rest for others of the same record. */
static SMgrRelation relations[1 + STRANGERS];
static Locator locators[1 + STRANGERS];

static Place target;
static Buffer target_buffer;
static Locator target_locator;

/* Every block in the pool but the target: at most three for each reference. */
static Place others[3 * (XLR_MAX_BLOCK_ID + 1)];
static int other_count;

void open_relations(void)
{
  for (int i = 0; i <= STRANGERS; i++)
  {
    locators[i] = MAKE_LOCATOR(GLOBALTABLESPACE_OID, 0, FIRST_RELATION + i);
    relations[i] = smgropen(locators[i], NO_BACKEND);
    for (int fork = 0; fork <= MAX_FORKNUM; fork++)
    {
      smgrcreate(relations[i], fork, true);
      /* So that no size is ever asked of a file: each block exists. */
      relations[i]->smgr_cached_nblocks[fork] = MaxBlockNumber;
    }
  }
}

/* A locked buffer for the block, zeroed when it was not in the pool. Nothing is read. */
static Buffer lock_block(const Place *place)
{
  Locator locator = locators[0];

  for (int i = 1; i <= STRANGERS; i++)
    if (relations[i] == place->relation)
      locator = locators[i];
  return ReadBufferWithoutRelcache(locator, place->fork, place->block, RBM_ZERO_AND_LOCK, NULL,
                                   true);
}

static void drop(const Place *place)
{
  ForkNumber forks[1] = {place->fork};
  BlockNumber first[1] = {place->block};

  /* "The relation ends behind this block": the pool is then not scanned. */
  place->relation->smgr_cached_nblocks[place->fork] = place->block + 1;
  DROP_BUFFERS(place->relation, forks, 1, first);
  place->relation->smgr_cached_nblocks[place->fork] = MaxBlockNumber;
}

void install_target(const ExchangeRequest *request)
{
  target = (Place){relations[0], request->fork, request->block};
  target_locator = MAKE_LOCATOR(request->tablespace, request->database, request->relation);
  target_buffer = lock_block(&target);
  memcpy(BufferGetPage(target_buffer), request->page, BLCKSZ);
  MarkBufferDirty(target_buffer);
  UnlockReleaseBuffer(target_buffer);
}

Page target_page(void)
{
  return BufferGetPage(target_buffer);
}

void remove_target(char *into)
{
  if (!ReadRecentBuffer(locators[0], target.fork, target.block, target_buffer))
    elog(ERROR, "the page left the buffer pool");
  memcpy(into, BufferGetPage(target_buffer), BLCKSZ);
  ReleaseBuffer(target_buffer);
  drop(&target);
}

/* A page that redo takes for newer than any record, so that it leaves it alone (BLK_DONE). */
static void make_stand_in(Page page)
{
  PageHeader header = (PageHeader) page;

  PageXLogRecPtrSet(header->pd_lsn, PG_UINT64_MAX);
  header->pd_flags = 0;
  header->pd_lower = SizeOfPageHeaderData;
  header->pd_upper = BLCKSZ - STAND_IN_SPECIAL;
  header->pd_special = BLCKSZ - STAND_IN_SPECIAL;
  PageSetPageSizeAndVersion(page, BLCKSZ, PG_PAGE_LAYOUT_VERSION);
}

static bool is_target(const Place *place)
{
  return place->relation == target.relation && place->fork == target.fork &&
         place->block == target.block;
}

static bool is_loaded(const Place *place)
{
  for (int i = 0; i < other_count; i++)
    if (others[i].relation == place->relation && others[i].fork == place->fork &&
        others[i].block == place->block)
      return true;
  return false;
}

static void load_stand_in(Place place)
{
  Buffer buffer;

  if (is_target(&place) || is_loaded(&place))
    return;
  others[other_count++] = place;
  buffer = lock_block(&place);
  make_stand_in(BufferGetPage(buffer));
  UnlockReleaseBuffer(buffer);
}

/* Where the free space of a heap block is kept. Source: fsm_logical_to_physical in freespace.c. */
static BlockNumber space_map_block(BlockNumber heap_block)
{
  BlockNumber leaf = heap_block / LeafNodesPerPage;
  BlockNumber pages = 0;

  for (int level = 0; level < SPACE_MAP_DEPTH; level++)
  {
    pages += leaf + 1;
    leaf /= LeafNodesPerPage;
  }
  return pages - 1;
}

/* The blocks of the maps that redo of a heap record reaches without their being named. */
static void load_maps(BlockNumber heap_block)
{
  load_stand_in((Place){relations[0], FSM_FORKNUM, space_map_block(heap_block)});
  load_stand_in(
      (Place){relations[0], VISIBILITYMAP_FORKNUM, heap_block / HEAP_BLOCKS_PER_MAP_BLOCK});
}

/* The relation that stands for the one a reference names; NULL when there are too many. */
static SMgrRelation relation_for(Locator locator, Locator *strangers, int *count)
{
  if (LOCATORS_EQUAL(locator, target_locator))
    return relations[0];
  for (int i = 0; i < *count; i++)
    if (LOCATORS_EQUAL(locator, strangers[i]))
      return relations[1 + i];
  if (*count == STRANGERS)
    return NULL;
  strangers[*count] = locator;
  return relations[1 + (*count)++];
}

static const char *place_block(DecodedBkpBlock *block, SMgrRelation relation, bool is_image_only,
                               DecodedBkpBlock **named)
{
  Place place = {relation, block->forknum, block->blkno};

  if (block->forknum > MAX_FORKNUM || block->blkno >= MaxBlockNumber)
    return "names a block that cannot be";
  block->prefetch_buffer = InvalidBuffer;
  for (int i = 0; i <= STRANGERS; i++)
    if (relations[i] == relation)
      BLOCK_LOCATOR(block) = locators[i];
  if (is_target(&place))
  {
    if (*named != NULL)
      return "names the page twice";
    *named = block;
    return NULL;
  }
  if (is_image_only)
    return NULL;
  if (is_loaded(&place))
    return "names a block twice";
  load_stand_in(place);
  return NULL;
}

const char *prepare_blocks(DecodedXLogRecord *record, DecodedBkpBlock **named)
{
  bool is_heap = record->header.xl_rmid == RM_HEAP_ID || record->header.xl_rmid == RM_HEAP2_ID;
  bool is_image_only = record->header.xl_rmid == RM_XLOG_ID;
  Locator strangers[STRANGERS];
  int stranger_count = 0;
  bool is_ours = false;

  *named = NULL;
  for (int id = 0; id <= record->max_block_id; id++)
  {
    DecodedBkpBlock *block = &record->blocks[id];
    SMgrRelation relation;
    const char *problem;

    if (!block->in_use)
      continue;
    relation = is_image_only && !LOCATORS_EQUAL(BLOCK_LOCATOR(block), target_locator)
                   ? relations[1]
                   : relation_for(BLOCK_LOCATOR(block), strangers, &stranger_count);
    if (relation == NULL)
      return "names too many relations";
    is_ours |= relation == relations[0];
    problem = place_block(block, relation, is_image_only, named);
    if (problem != NULL)
      return problem;
  }
  for (int id = 0; is_heap && id <= record->max_block_id; id++)
    if (record->blocks[id].in_use && record->blocks[id].forknum == MAIN_FORKNUM &&
        LOCATORS_EQUAL(BLOCK_LOCATOR(&record->blocks[id]), locators[0]))
      load_maps(record->blocks[id].blkno);
  if (*named == NULL && !(is_heap && is_ours && target.fork == VISIBILITYMAP_FORKNUM))
    return "does not touch the page";
  return NULL;
}

void drop_others(void)
{
  for (int i = 0; i < other_count; i++)
    drop(&others[i]);
  other_count = 0;
}
