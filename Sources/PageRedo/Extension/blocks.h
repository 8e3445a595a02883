/* The few buffers that redo sees: the page asked for, and stand-ins for all others.
 *
 * No file is read: every block that a record's redo may look at is put into the buffer pool
 * first. See docs/decisions/2026-11-25-other-blocks-are-from-the-future.md. */
#ifndef EXZO_PAGE_REDO_BLOCKS_H
#define EXZO_PAGE_REDO_BLOCKS_H

#include "access/xlogreader.h"
#include "storage/buf.h"

#include "exchange.h"

/* Opens the relations that stand for those of the records; once, before anything else. */
extern void open_relations(void);

/* Puts the request's page into the pool. Undone by forget_target. */
extern void install_target(const ExchangeRequest *request);

/* The page as it is now, in its buffer. */
extern Page target_page(void);

/* Takes the page out of the pool again. ERROR if it did not stay there all the time. */
extern void remove_target(char *into);

/* Points the record's block references at our relations and makes the other blocks ready.
 * Returns NULL, or why the record cannot be redone for this page. *named is the reference that is
 * the page asked for, NULL when the record does not name it. */
extern const char *prepare_blocks(DecodedXLogRecord *record, DecodedBkpBlock **named);

/* Drops every block but the page asked for. */
extern void drop_others(void);

#endif
