/* What differs between major versions of PostgreSQL, for the rest of the extension.
 *
 * 15 is built and tested. 16, 17 and 18 were written from their headers and are not tested. */
#ifndef EXZO_PAGE_REDO_VERSIONS_H
#define EXZO_PAGE_REDO_VERSIONS_H

#if PG_VERSION_NUM < 150000
#error "page redo needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
typedef RelFileLocator Locator;
#define MAKE_LOCATOR(spc, db, rel) ((Locator){.spcOid = (spc), .dbOid = (db), .relNumber = (rel)})
#define LOCATORS_EQUAL(a, b) RelFileLocatorEquals(a, b)
#define BLOCK_LOCATOR(block) ((block)->rlocator)
#define DROP_BUFFERS(smgr, forks, count, first) DropRelationBuffers(smgr, forks, count, first)
#else
typedef RelFileNode Locator;
#define MAKE_LOCATOR(spc, db, rel) ((Locator){.spcNode = (spc), .dbNode = (db), .relNode = (rel)})
#define LOCATORS_EQUAL(a, b) RelFileNodeEquals(a, b)
#define BLOCK_LOCATOR(block) ((block)->rnode)
#define DROP_BUFFERS(smgr, forks, count, first) DropRelFileNodeBuffers(smgr, forks, count, first)
#endif

#if PG_VERSION_NUM >= 170000
#define NO_BACKEND INVALID_PROC_NUMBER
#else
#define NO_BACKEND InvalidBackendId
#endif

/* The record that carries a page's logical rewrite mapping: it writes files, no page. */
#define IS_REWRITE_MAPPING(rmid, info) \
  ((rmid) == RM_HEAP2_ID && ((info) & XLOG_HEAP_OPMASK) == XLOG_HEAP2_REWRITE)

#endif
