#ifndef EXZO_PAGE_REDO_SANDBOX_H
#define EXZO_PAGE_REDO_SANDBOX_H

/* Makes the System V segment by which PostgreSQL guards a data directory go with this process. */
extern void forget_shared_memory_key(void);

/* Gives up everything that redo does not need. There is no way back. */
extern void enter_sandbox(void);

#endif
