// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fuzzer of what KVM_RUN says about missing memory.  Random steps take memory
 * away, put it back, convert and move it, and let vCPUs access it.  A model of
 * the memory, made from Documentation/virt/kvm/memory-fault.rst and api.rst,
 * says how each KVM_RUN has to end and what the memory has to hold afterwards.
 *
 * - In step: one thread does all, and the model knows the one right result.  The
 *   seed alone decides what happens.
 * - Racing: one thread changes memory while others run the vCPUs.  The model
 *   keeps a history, and each result has to be right for some moment of the
 *   KVM_RUN that it is from.  At the end no access may be lost or done twice.
 *
 * The test lies to its model, too, to prove that it would notice.
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>

#include "gmem_slot.h"
#include "kselftest.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#ifdef __aarch64__
#include <sys/auxv.h>
#endif

#define DEFAULT_SEED	1
#define DEFAULT_SECONDS	10
#define MAX_VCPUS	4

/* A VM lives for as many steps, or as many changes of its memory. */
#define ROUND_STEPS	1000
#define ROUND_CHANGES	1000
/* A lie is noticed sooner, or never. */
#define LIE_STEPS	500
#define LIE_CHANGES	200

#define NR_SLOTS	3
#define NR_PAGES	8
#define FIRST_SLOT	10
/* Each memslot can be at one of two places. */
#define NR_PLACES	2
#define FIRST_GPA	0xc0000000ul
#define PLACE_SIZE	(4ul << 20)
#define HUGE_SIZE	(2ul << 20)

/* Poison is for good. */
#define MAX_POISONED	256

#define HANG_SECONDS	180

/* What a guest finds at the offsets that it uses in each page. */
enum word {
	/* Parts of these two belong to accesses across the page's borders. */
	WORD_FIRST,
	WORD_LAST,
	WORD_CODE,
	/* The vCPUs share the one, and have one of the others each. */
	WORD_COUNT,
	WORD_OWN,
	NR_WORDS = WORD_OWN + MAX_VCPUS,
};

#define CODE_OFFSET	0x140
#define WORDS_OFFSET	0x88

enum access {
	READ,
	WRITE,
	ATOMIC,
	EXEC,
	READ_ACROSS,
	WRITE_ACROSS,
	/* By KVM's emulator. */
	EMULATED_READ,
	EMULATED_WRITE,
	EMULATED_ATOMIC,
	NR_ACCESSES,
};

static const char * const access_names[] = {
	"read", "write", "add", "exec", "read across", "write across",
	"emulated read", "emulated write", "emulated add",
};

/* How KVM_RUN can end as far as a page is concerned. */
#define DONE		BIT(0)
#define FAULT		BIT(1)
#define FAULT_PRIVATE	BIT(2)
#define MMIO		BIT(3)
#define POISON		BIT(4)
#define GMEM_POISON	BIT(5)
#define ANYTHING	0xff

static const char * const end_names[] = {
	"done", "fault", "private fault", "MMIO", "SIGBUS", "EHWPOISON",
};

/* The mailbox of a vCPU. */
struct command {
	u64 access;
	u64 gva;
	u64 value;
	u64 result;
	u64 nr_done;
};

/* Shared with the guest. */
static struct command commands[MAX_VCPUS];
static u64 has_atomics;

#define UCALL_NEXT	((gva_t)0x600d)

#if defined(__x86_64__)
/* lea 0x1(%rdi), %rax; ret */
#define CODE		0x00c301478d48ul

static inline u64 guest_load(gva_t gva)
{
	u64 v;

	asm volatile("mov (%1), %0" : "=r" (v) : "r" (gva) : "memory");
	return v;
}

static inline void guest_store(gva_t gva, u64 v)
{
	asm volatile("mov %0, (%1)" : : "r" (v), "r" (gva) : "memory");
}

static inline u64 guest_add(gva_t gva, u64 v)
{
	asm volatile("lock xadd %0, (%1)" : "+r" (v) : "r" (gva) : "memory");
	return v;
}

static inline u64 guest_emulated_load(gva_t gva)
{
	u64 v;

	asm volatile(KVM_FEP "mov (%1), %0" : "=a" (v) : "c" (gva) : "memory");
	return v;
}

static inline void guest_emulated_store(gva_t gva, u64 v)
{
	asm volatile(KVM_FEP "mov %0, (%1)" : : "a" (v), "c" (gva) : "memory");
}

static inline u64 guest_emulated_add(gva_t gva, u64 v)
{
	asm volatile(KVM_FEP "lock xadd %0, (%1)" : "+a" (v) : "c" (gva) : "memory");
	return v;
}
#elif defined(__aarch64__)
/* add x0, x0, #1; ret */
#define CODE		0xd65f03c091000400ul

static inline u64 guest_load(gva_t gva)
{
	u64 v;

	asm volatile("ldr %0, [%1]" : "=r" (v) : "r" (gva) : "memory");
	return v;
}

static inline void guest_store(gva_t gva, u64 v)
{
	asm volatile("str %0, [%1]" : : "r" (v), "r" (gva) : "memory");
}

static inline u64 guest_add(gva_t gva, u64 v)
{
	u64 old, sum;
	u32 failed;

	if (has_atomics) {
		asm volatile(".arch_extension lse\n"
			     "ldaddal %1, %0, [%2]"
			     : "=r" (old) : "r" (v), "r" (gva) : "memory");
		return old;
	}

	asm volatile("1: ldaxr %0, [%4]\n"
		     "   add %1, %0, %3\n"
		     "   stlxr %w2, %1, [%4]\n"
		     "   cbnz %w2, 1b"
		     : "=&r" (old), "=&r" (sum), "=&r" (failed)
		     : "r" (v), "r" (gva) : "memory");
	return old;
}

#define guest_emulated_load	guest_load
#define guest_emulated_store	guest_store
#define guest_emulated_add	guest_add
#endif

static u64 guest_access(struct command *c)
{
	gva_t gva = READ_ONCE(c->gva);
	u64 value = READ_ONCE(c->value);

	switch (READ_ONCE(c->access)) {
	case READ:
	case READ_ACROSS:
		return guest_load(gva);
	case WRITE:
	case WRITE_ACROSS:
		guest_store(gva, value);
		return 0;
	case ATOMIC:
		return guest_add(gva, value);
	case EXEC:
		return ((u64 (*)(u64))gva)(value);
	case EMULATED_READ:
		return guest_emulated_load(gva);
	case EMULATED_WRITE:
		guest_emulated_store(gva, value);
		return 0;
	case EMULATED_ATOMIC:
		return guest_emulated_add(gva, value);
	}
	GUEST_FAIL("No access %lu", c->access);
	return 0;
}

static void guest_code(u64 i)
{
	struct command *c = &commands[i];

	for (;;) {
		WRITE_ONCE(c->result, guest_access(c));
		WRITE_ONCE(c->nr_done, c->nr_done + 1);
		ucall_arch_do_ucall(UCALL_NEXT);
	}
}

/*
 * Random numbers, of a generator of our own: a seed has to mean the same for as
 * long as the order of the decisions stays the same.
 */
struct rng {
	u64 state;
};

static u64 rnd64(struct rng *rng)
{
	u64 x = rng->state += 0x9e3779b97f4a7c15ul;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ul;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebul;
	return x ^ (x >> 31);
}

static u32 rnd(struct rng *rng, u32 n)
{
	return (rnd64(rng) >> 32) % n;
}

static bool percent(struct rng *rng, u32 chance)
{
	return rnd(rng, 100) < chance;
}

static struct rng new_rng(u64 seed, u64 a, u64 b)
{
	struct rng rng = { .state = seed };

	rng.state = rnd64(&rng) + a;
	rng.state = rnd64(&rng) + b;
	return rng;
}

/*
 * The model
 */
enum backing {
	ANONYMOUS,
	FILE_SHARED,
	GMEM,
};

static const char * const backing_names[] = { "anonymous", "file", "guest_memfd" };

struct content {
	u64 words[NR_WORDS];
};

struct page {
	bool mapped;
	int prot;
	bool poisoned;
	/* By place: an attribute belongs to the address, not to the memory. */
	bool private[NR_PLACES];
	/* There was no memslot, and KVM knows. */
	bool was_mmio[NR_PLACES];
	/* The shared and the private memory behind it. */
	struct content content[2];
};

/*
 * What a KVM_RUN can have met.  A change of memory is two entries, one from before
 * it begins, with the old and the new, and one from after it has ended.
 */
#define HISTORY		512

struct history {
	u64 now;
	u8 ends[HISTORY][2];
};

struct slot {
	int nr;
	enum backing backing;
	/* guest_memfd for private memory. */
	bool has_private;
	int gmem;

	bool exists;
	bool read_only;
	bool log_dirty;
	int place;
	/* Pages from here on are beyond the end of the file. */
	int eof;
	/* guest_memfd of GMEM is closed. */
	bool closed;

	void *hva;
	/* The same memory, for nobody but this test, or NULL. */
	void *alias;
	size_t size;
	int fd;

	struct page pages[NR_PAGES];
	struct history history[NR_PAGES][NR_PLACES];
};

struct touch {
	enum access access;
	struct slot *slot;
	int place;
	int page;
	int word;
	u64 value;
};

enum vcpu_state {
	IDLE,
	/* There is an access that is not done. */
	PENDING,
	/* The same, but the emulator has read what it is about to add to. */
	HALF_DONE,
	/* KVM_EXIT_MMIO has been answered, the access is as good as done. */
	ANSWERED,
};

struct fuzz_vcpu {
	int nr;
	struct kvm_vcpu *vcpu;
	struct command *command;
	enum vcpu_state state;
	struct touch touch;
	u64 answer;
	u64 nr_done;
	u64 nr_faults;

	/* What the access is if it is up to the emulator, or ends as MMIO. */
	bool by_emulator;
	bool mmio_write;
	u64 mmio_value;

	/* Racing. */
	pthread_t thread;
	struct rng rng;
	u64 since[2];
	u64 nr_added[NR_SLOTS][NR_PAGES];
	u64 own[NR_SLOTS][NR_PAGES];
};

/* What the model can be made to say against its better knowledge. */
enum lie {
	NO_LIE,
	LIE_NO_FAULT,
	LIE_GPA,
	LIE_FLAGS,
	LIE_ERRNO,
	LIE_CONTENT,
	LIE_TWICE,
	LIE_RUN,
	LIE_RACE_NO_FAULT,
	LIE_RACE_LOST,
	NR_LIES,
};

static const char * const lie_names[] = {
	"none", "no fault", "gpa", "flags", "errno", "content", "done twice",
	"kvm_run", "racing: no fault", "racing: lost access",
};

static struct {
	u64 seed;
	unsigned int seconds;
	u64 nr_steps;
	unsigned int nr_vcpus;
	bool verbose;
	enum lie lie;
} opt = {
	.seed = DEFAULT_SEED,
	.seconds = DEFAULT_SECONDS,
};

static struct {
	u64 steps;
	u64 runs;
	u64 faults;
	u64 mmios;
	u64 poison;
	u64 signals;
	u64 changes;
	u64 races;
	unsigned int rounds;
	int poisoned;
} nr;

static struct kvm_vm *vm;
static size_t page_size;
static struct rng rng;
static struct slot slots[NR_SLOTS];
static struct fuzz_vcpu vcpus[MAX_VCPUS];
static int nr_vcpus;
static u64 enabled_flags;
static bool has_private_memory;
static bool has_read_only;
static bool has_emulation;
static bool can_poison;
static bool can_pre_fault;
static bool is_vmx;
static bool racing;

/*
 * The last steps, for whoever has to find out why the last one failed.
 */
#define NR_LINES	24

static char lines[NR_LINES][160];
static u64 nr_lines;
static bool finished = true;

static void __printf(1, 2) step(const char *fmt, ...)
{
	char *line = lines[nr_lines++ % NR_LINES];
	int len = 0;
	va_list va;

	len = snprintf(line, sizeof(lines[0]), "%lu: ", nr.steps);
	va_start(va, fmt);
	vsnprintf(line + len, sizeof(lines[0]) - len, fmt, va);
	va_end(va);
	if (opt.verbose)
		ksft_print_msg("%s\n", line);
}

static void tell_how_to_repeat(void)
{
	u64 i = nr_lines > NR_LINES ? nr_lines - NR_LINES : 0;

	if (finished)
		return;

	finished = true;
	if (racing) {
		ksft_print_msg("seed %lu, racing, round %u; races differ, repeat with:\n",
			       opt.seed, nr.rounds);
		ksft_print_msg("%s -s %lu -t %u\n", program_invocation_short_name,
			       opt.seed, opt.seconds);
		return;
	}

	ksft_print_msg("seed %lu, step %lu; the last steps:\n", opt.seed, nr.steps);
	for (; i < nr_lines; i++)
		ksft_print_msg("  %s\n", lines[i % NR_LINES]);
	ksft_print_msg("repeat with:\n");
	ksft_print_msg("%s -s %lu -n %lu", program_invocation_short_name, opt.seed,
		       nr.steps);
	if (opt.nr_vcpus)
		printf(" -v %u", opt.nr_vcpus);
	printf("\n");
}

static void __printf(1, 2) __noreturn fail(const char *fmt, ...)
{
	char why[512];
	va_list va;

	va_start(va, fmt);
	vsnprintf(why, sizeof(why), fmt, va);
	va_end(va);
	if (opt.lie)
		_exit(KSFT_XFAIL);

	tell_how_to_repeat();
	ksft_exit_fail_msg("%s\n", why);
}

static void on_alarm(int signo)
{
	fail("Expected an end, got no step further in %d seconds", HANG_SECONDS);
}

static bool crosses(enum access access)
{
	return access == READ_ACROSS || access == WRITE_ACROSS;
}

static bool emulated(enum access access)
{
	return access == EMULATED_READ || access == EMULATED_WRITE ||
	       access == EMULATED_ATOMIC;
}

static bool adds(enum access access)
{
	return access == ATOMIC || access == EMULATED_ATOMIC;
}

static bool writes(enum access access)
{
	return access == WRITE || access == WRITE_ACROSS || access == EMULATED_WRITE ||
	       adds(access);
}

static size_t word_offset(int word)
{
	switch (word) {
	case WORD_FIRST:
		return 0;
	case WORD_LAST:
		return page_size - sizeof(u64);
	case WORD_CODE:
		return CODE_OFFSET;
	}
	return WORDS_OFFSET + (word - WORD_COUNT) * sizeof(u64);
}

static gpa_t place_gpa(const struct slot *s, int place)
{
	return FIRST_GPA + (s->nr * NR_PLACES + place) * PLACE_SIZE;
}

static gpa_t page_gpa(const struct slot *s, int place, int page)
{
	return place_gpa(s, place) + page * page_size;
}

static gpa_t touch_gpa(const struct touch *t)
{
	gpa_t gpa = page_gpa(t->slot, t->place, t->page);

	return gpa + (crosses(t->access) ? page_size - sizeof(u32) : word_offset(t->word));
}

/* The memory of the page is there for userspace, i.e. for KVM. */
static bool accessible(const struct slot *s, int page, bool write)
{
	const struct page *p = &s->pages[page];

	return p->mapped && page < s->eof &&
	       (p->prot & (write ? PROT_WRITE : PROT_READ));
}

/* How KVM_RUN ends if the guest accesses the page. */
static u8 page_end(const struct slot *s, int place, int page, bool write)
{
	const struct page *p = &s->pages[page];
	bool here = s->exists && s->place == place;

	if (p->private[place])
		return here && s->has_private ? DONE : FAULT_PRIVATE;
	if (!here || (write && s->read_only))
		return MMIO;
	if (s->backing == GMEM) {
		if (s->closed)
			return FAULT;
		return p->poisoned ? GMEM_POISON : DONE;
	}
	/* With two causes at once, it is not said which one counts. */
	if (!accessible(s, page, write))
		return p->poisoned ? FAULT | POISON : FAULT;
	return p->poisoned ? POISON : DONE;
}

static int touch_npages(const struct touch *t)
{
	return crosses(t->access) ? 2 : 1;
}

/* The same for page @i of an access. */
static u8 touch_end(const struct touch *t, int i)
{
	u8 end = page_end(t->slot, t->place, t->page + i, writes(t->access));

	/* To add is to read, too, and it is up to the CPU what it faults on. */
	if (t->access == ATOMIC)
		end |= page_end(t->slot, t->place, t->page + i, false) & ~DONE;
	/* Data that KVM's emulator cannot access is MMIO. */
	return emulated(t->access) && end == FAULT ? MMIO : end;
}

static u64 fault_flags(enum access access, u8 end)
{
	u64 flags = access == EXEC ? KVM_MEMORY_EXIT_FLAG_EXEC :
		    writes(access) ? KVM_MEMORY_EXIT_FLAG_WRITE :
				     KVM_MEMORY_EXIT_FLAG_READ;

	flags &= enabled_flags;
#ifdef __x86_64__
	if (end == FAULT_PRIVATE)
		flags |= KVM_MEMORY_EXIT_FLAG_PRIVATE;
#endif
	return flags;
}

/*
 * VMX doesn't tell the kind of access where KVM has cached that it is MMIO, and
 * KVM need not tell that of its own accesses.
 */
static bool flags_ok(const struct fuzz_vcpu *v, int i, u8 end, u64 flags)
{
	const struct touch *t = &v->touch;
	u64 expected = fault_flags(t->access, end);

	if (t->access == ATOMIC && flags == fault_flags(READ, end))
		expected = flags;
	if (opt.lie == LIE_FLAGS)
		expected ^= KVM_MEMORY_EXIT_FLAG_WRITE;
	if (v->by_emulator ||
	    (is_vmx && t->slot->pages[t->page + i].was_mmio[t->place]))
		expected &= flags | KVM_MEMORY_EXIT_FLAG_PRIVATE;
	return flags == expected;
}

static struct content *page_content(struct slot *s, int place, int page)
{
	struct page *p = &s->pages[page];

	return &p->content[p->private[place]];
}

/* Do what the guest has done, and return what it has to have got. */
static u64 model_access(const struct touch *t)
{
	struct content *c = page_content(t->slot, t->place, t->page), *next;
	u64 old = c->words[t->word];

	switch (t->access) {
	case READ:
	case EMULATED_READ:
		return old;
	case WRITE:
	case EMULATED_WRITE:
		c->words[t->word] = t->value;
		return 0;
	case ATOMIC:
	case EMULATED_ATOMIC:
		c->words[t->word] += t->value;
		return old;
	case EXEC:
		return t->value + 1;
	case READ_ACROSS:
		next = page_content(t->slot, t->place, t->page + 1);
		return c->words[WORD_LAST] >> 32 | next->words[WORD_FIRST] << 32;
	case WRITE_ACROSS:
		next = page_content(t->slot, t->place, t->page + 1);
		c->words[WORD_LAST] = (u32)c->words[WORD_LAST] | t->value << 32;
		next->words[WORD_FIRST] = (next->words[WORD_FIRST] & ~0xfffffffful) |
					  t->value >> 32;
		return 0;
	default:
		TEST_FAIL("No access %d", t->access);
	}
}

/*
 * The history of a page, see above.  Entries are written by one thread.
 */
static void remember(struct slot *s, int page, int place, bool old, u8 extra)
{
	struct history *h = &s->history[page][place];
	u64 now = h->now;
	u8 ends[2];
	int write;

	for (write = 0; write < 2; write++) {
		ends[write] = page_end(s, place, page, write);
		if (old)
			ends[write] |= h->ends[now % HISTORY][write] | extra;
	}

	if (!memcmp(ends, h->ends[now % HISTORY], sizeof(ends)))
		return;

	memcpy(h->ends[(now + 1) % HISTORY], ends, sizeof(ends));
	__atomic_store_n(&h->now, now + 1, __ATOMIC_SEQ_CST);
}

static void __change(struct slot *s, bool old, u8 extra)
{
	int page, place;

	for (page = 0; page < NR_PAGES; page++)
		for (place = 0; place < NR_PLACES; place++)
			remember(s, page, place, old, extra);
}

/* The model is changed, the memory is not, nor has anything begun to do so. */
static void change_begin(struct slot *s)
{
	nr.changes++;
	__change(s, true, 0);
}

static void change_end(struct slot *s)
{
	__change(s, false, 0);
}

static u64 history_now(const struct touch *t, int i)
{
	return __atomic_load_n(&t->slot->history[t->page + i][t->place].now,
			       __ATOMIC_SEQ_CST);
}

/* All that page @i of the access can have been between @since and now. */
static u8 history_ends(const struct touch *t, int i, u64 since)
{
	struct history *h = &t->slot->history[t->page + i][t->place];
	u64 now = history_now(t, i);
	u8 ends = 0;

	/* Entries that might be written by now don't count. */
	if (now - since > HISTORY - 8)
		return ANYTHING;
	for (; since <= now; since++) {
		ends |= h->ends[since % HISTORY][writes(t->access)];
		if (t->access == ATOMIC)
			ends |= h->ends[since % HISTORY][0] & ~DONE;
	}
	return history_now(t, i) - now > 4 ? ANYTHING : ends;
}

/*
 * The memory, and what becomes of it.  Each function changes the model first.
 */
static int slot_index(const struct slot *s)
{
	return s - slots;
}

static void *page_hva(const struct slot *s, int page)
{
	return s->hva + page * page_size;
}

/* Where this test finds the memory of the page, or NULL if it can't see it. */
static void *page_view(const struct slot *s, int page, bool write)
{
	const struct page *p = &s->pages[page];

	if (p->poisoned || s->closed || page >= s->eof)
		return NULL;
	if (s->alias)
		return s->alias + page * page_size;
	return accessible(s, page, write) ? page_hva(s, page) : NULL;
}

static bool fill_code(struct slot *s, int page)
{
	void *view = page_view(s, page, true);

	if (!view)
		return false;

	*(u64 *)(view + CODE_OFFSET) = CODE;
	__builtin___clear_cache(view + CODE_OFFSET, view + CODE_OFFSET + sizeof(u64));
	s->pages[page].content[0].words[WORD_CODE] = CODE;
	return true;
}

static void page_lost(struct slot *s, int page)
{
	memset(&s->pages[page].content[0], 0, sizeof(struct content));
	s->pages[page].poisoned = false;
}

static void check_page(struct slot *s, int page)
{
	void *view = page_view(s, page, false);
	u64 got, expected;
	int word;

	for (word = 0; view && word < NR_WORDS; word++) {
		got = *(u64 *)(view + word_offset(word));
		expected = s->pages[page].content[0].words[word];
		if (got != expected)
			fail("Expected 0x%lx in word %d of page %d of slot %d, got 0x%lx",
			     expected, word, page, slot_index(s), got);
	}
}

static void check_all_pages(void)
{
	int slot, page;

	step("look at all pages");
	for (slot = 0; slot < NR_SLOTS; slot++)
		for (page = 0; page < NR_PAGES; page++)
			check_page(&slots[slot], page);
}

static void set_slot(struct slot *s, bool exists)
{
	u32 flags = 0;
	int gmem = -1;

	if (s->read_only)
		flags |= KVM_MEM_READONLY;
	if (s->log_dirty)
		flags |= KVM_MEM_LOG_DIRTY_PAGES;
	if (s->has_private) {
		flags |= KVM_MEM_GUEST_MEMFD;
		gmem = s->gmem;
	} else if (s->backing == GMEM) {
		flags |= KVM_MEM_GUEST_MEMFD;
		gmem = s->fd;
	}
	vm_set_user_memory_region2(vm, FIRST_SLOT + s->nr, flags,
				   place_gpa(s, s->place), exists ? s->size : 0,
				   s->hva, gmem, 0);
}

static void slot_add(struct slot *s)
{
	s->exists = true;
	change_begin(s);
	set_slot(s, true);
	change_end(s);
}

static void slot_delete(struct slot *s)
{
	s->exists = false;
	change_begin(s);
	set_slot(s, false);
	change_end(s);
}

static void slot_move(struct slot *s, int place)
{
	s->place = place;
	change_begin(s);
	set_slot(s, true);
	change_end(s);
}

static void slot_set_log_dirty(struct slot *s, bool log_dirty)
{
	s->log_dirty = log_dirty;
	change_begin(s);
	set_slot(s, true);
	change_end(s);
}

static void page_protect(struct slot *s, int page, int prot)
{
	s->pages[page].prot = prot;
	change_begin(s);
	protect_page(page_hva(s, page), prot);
	change_end(s);
}

static void page_unmap(struct slot *s, int page)
{
	s->pages[page].mapped = false;
	if (s->backing == ANONYMOUS)
		page_lost(s, page);
	change_begin(s);
	kvm_munmap(page_hva(s, page), page_size);
	change_end(s);
}

static void page_map(struct slot *s, int page)
{
	s->pages[page].mapped = true;
	s->pages[page].prot = PROT_READ | PROT_WRITE;
	if (s->backing == ANONYMOUS)
		page_lost(s, page);
	change_begin(s);
	if (s->backing == ANONYMOUS)
		mmap_anonymous_over(page_hva(s, page), page_size);
	else
		mmap_over(page_hva(s, page), page_size, MAP_SHARED, s->fd, page * page_size);
	change_end(s);
}

static void page_poison(struct slot *s, int page)
{
	void *view = page_view(s, page, true);

	if (!view || s->pages[page].poisoned || nr.poisoned == MAX_POISONED)
		return;

	/* A page that has been read alone can be the one that is all zeroes. */
	*(u64 *)view = s->pages[page].content[0].words[WORD_FIRST];

	nr.poisoned++;
	s->pages[page].poisoned = true;
	change_begin(s);
	errno = 0;
	TEST_ASSERT(poison_page(view) && (s->backing == GMEM || errno != EBUSY),
		    __KVM_SYSCALL_ERROR("madvise()", -1));
	change_end(s);
}

static void page_punch(struct slot *s, int page)
{
	bool poisoned = s->pages[page].poisoned;

	page_lost(s, page);
	change_begin(s);
	kvm_fallocate(s->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		      page * page_size, page_size);
	/* The file has lost the poison, mappings of it have not. */
	if (poisoned)
		mmap_over(s->alias + page * page_size, page_size, MAP_SHARED, s->fd,
			  page * page_size);
	change_end(s);
}

static void page_punch_private(struct slot *s, int page)
{
	memset(&s->pages[page].content[1], 0, sizeof(struct content));
	change_begin(s);
	kvm_fallocate(s->gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		      page * page_size, page_size);
	change_end(s);
}

static void file_resize(struct slot *s, int npages)
{
	int page;

	for (page = npages; page < NR_PAGES; page++)
		page_lost(s, page);
	s->eof = npages;
	change_begin(s);
	kvm_ftruncate(s->fd, npages * page_size);
	change_end(s);
}

static void pages_convert(struct slot *s, int place, int page, int npages, bool private)
{
	int i;

	nr.changes++;
	for (i = page; i < page + npages; i++)
		s->pages[i].private[place] = private;
	/* An access of the other kind, as of now, may be under way. */
	for (i = page; i < page + npages; i++)
		remember(s, i, place, true, FAULT | FAULT_PRIVATE);
	vm_set_memory_attributes(vm, page_gpa(s, place, page), npages * page_size,
				 private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0);
	for (i = page; i < page + npages; i++)
		remember(s, i, place, false, 0);
}

/* guest_memfd goes away with its last user. */
static void gmem_close(struct slot *s)
{
	int page;

	for (page = 0; page < NR_PAGES; page++)
		page_lost(s, page);
	s->closed = true;
	change_begin(s);
	kvm_munmap(s->hva, s->size);
	kvm_munmap(s->alias, s->size);
	kvm_close(s->fd);
	change_end(s);
}

static void pages_init(struct slot *s)
{
	int page;

	for (page = 0; page < NR_PAGES; page++) {
		s->pages[page].mapped = true;
		s->pages[page].prot = PROT_READ | PROT_WRITE;
		page_lost(s, page);
	}
}

static void gmem_open(struct slot *s)
{
	s->fd = vm_create_guest_memfd(vm, s->size, GMEM_SLOT_FLAGS);
	s->hva = kvm_mmap(s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd);
	s->alias = kvm_mmap(s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd);
	s->closed = false;
	pages_init(s);
}

/* Aligned such that KVM may map it by a huge page, of which most isn't used. */
static void anonymous_open(struct slot *s)
{
	void *mem, *end;

	s->size = max(s->size, HUGE_SIZE);
	mem = kvm_mmap(2 * s->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1);
	end = mem + 2 * s->size;
	s->hva = align_ptr_up(mem, s->size);
	if (s->hva > mem)
		kvm_munmap(mem, s->hva - mem);
	if (s->hva + s->size < end)
		kvm_munmap(s->hva + s->size, end - s->hva - s->size);
	pages_init(s);
}

static void file_open(struct slot *s)
{
	s->fd = kvm_memfd_alloc(s->size, false);
	s->hva = kvm_mmap(s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd);
	s->alias = kvm_mmap(s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd);
	pages_init(s);
}

static void slot_init(int i, enum backing backing, bool has_private)
{
	struct slot *s = &slots[i];
	int page;

	memset(s, 0, sizeof(*s));
	s->nr = i;
	s->backing = backing;
	s->has_private = has_private;
	s->eof = NR_PAGES;
	s->size = NR_PAGES * page_size;
	s->fd = -1;
	s->gmem = -1;

	if (backing == ANONYMOUS)
		anonymous_open(s);
	else if (backing == FILE_SHARED)
		file_open(s);
	else
		gmem_open(s);
	if (has_private)
		s->gmem = vm_create_guest_memfd(vm, s->size, 0);

	slot_add(s);
	for (page = 0; page < NR_PAGES; page++)
		fill_code(s, page);
	for (page = 0; page < NR_PLACES; page++)
		virt_map(vm, place_gpa(s, page), place_gpa(s, page),
			 NR_PAGES * page_size / vm->page_size);
}

static void slot_free(struct slot *s)
{
	if (s->closed)
		return;
	munmap(s->hva, s->size);
	if (s->alias)
		kvm_munmap(s->alias, s->size);
	if (s->fd >= 0)
		kvm_close(s->fd);
	if (s->gmem >= 0)
		kvm_close(s->gmem);
}

/*
 * Run a vCPU, and see if the model knows why KVM_RUN ended as it did.
 */
struct end {
	u8 end;
	gpa_t gpa;
	u64 flags;
};

static __thread struct {
	int nr;
	int code;
	void *addr;
} sigbus;

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
	sigbus.nr++;
	sigbus.code = info->si_code;
	sigbus.addr = info->si_addr;

	/* Only KVM_RUN accesses poison, and nothing else is expected. */
	if (sigbus.nr > 1)
		fail("Expected no SIGBUS but by KVM_RUN, got one at %p", info->si_addr);
}

static __thread u64 nr_signals;

static void on_signal(int signo)
{
	nr_signals++;
}

static const char *end_str(u8 end)
{
	static __thread char str[128];
	int i, len = 0;

	str[0] = '\0';
	for (i = 0; i < ARRAY_SIZE(end_names); i++)
		if (end & BIT(i))
			len += snprintf(str + len, sizeof(str) - len, "%s%s",
					len ? " or " : "", end_names[i]);
	return str;
}

static const char *touch_str(const struct touch *t)
{
	static __thread char str[128];

	snprintf(str, sizeof(str), "%s of 0x%lx, slot %d page %d",
		 access_names[t->access], (unsigned long)touch_gpa(t),
		 slot_index(t->slot), t->page);
	return str;
}

static bool is_ucall(struct kvm_vcpu *vcpu)
{
	struct ucall uc;
	void *p;

	if (vcpu->run->exit_reason != UCALL_EXIT_REASON)
		return false;
	p = ucall_arch_get_ucall(vcpu);
	if (p && p != (void *)UCALL_NEXT && get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	return p;
}

static void __noreturn fail_run(struct fuzz_vcpu *v, const char *expected, int r, int err)
{
	struct kvm_run *run = v->vcpu->run;
	char why[160] = "";

	if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		snprintf(why, sizeof(why), ", gpa 0x%llx size 0x%llx flags 0x%llx",
			 run->memory_fault.gpa, run->memory_fault.size,
			 run->memory_fault.flags);
	else if (run->exit_reason == KVM_EXIT_MMIO)
		snprintf(why, sizeof(why), ", %s of %u bytes at 0x%llx",
			 run->mmio.is_write ? "write" : "read", run->mmio.len,
			 run->mmio.phys_addr);
	fail("vCPU %d, %s: expected %s, got %d, %d (%s) and %u (%s)%s", v->nr,
	     touch_str(&v->touch), expected, r, err, strerror(err), run->exit_reason,
	     exit_reason_str(run->exit_reason), why);
}

/* How KVM_RUN ended, in the terms of the model, or 0 if that has none. */
static struct end classify(struct fuzz_vcpu *v, int r, int err)
{
	struct kvm_run *run = v->vcpu->run;
	struct end e = {};

	if (r == -1 && err == EINTR && sigbus.nr) {
		e.end = run->exit_reason == KVM_EXIT_INTR && sigbus.code == BUS_MCEERR_AR ?
			POISON : 0;
		return e;
	}

	if (r == -1 && (err == EFAULT || err == EHWPOISON) &&
	    run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
		e.gpa = run->memory_fault.gpa;
		e.flags = run->memory_fault.flags;
		e.end = err == EHWPOISON ? GMEM_POISON :
			e.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE ? FAULT_PRIVATE : FAULT;
		v->nr_faults++;
		if (run->memory_fault.size != page_size)
			e.end = 0;
		return e;
	}

	if (r)
		return e;

	if (is_ucall(v->vcpu)) {
		e.end = DONE;
	} else if (run->exit_reason == KVM_EXIT_MMIO) {
		e.end = MMIO;
		e.gpa = run->mmio.phys_addr;
	}
	return e;
}

/* The end that KVM_RUN came to is the one of page @i of the access. */
static bool ends_at(struct fuzz_vcpu *v, const struct end *e, int i)
{
	const struct touch *t = &v->touch;
	gpa_t gpa = page_gpa(t->slot, t->place, t->page + i);
	struct kvm_run *run = v->vcpu->run;

	switch (e->end) {
	case FAULT:
	case FAULT_PRIVATE:
	case GMEM_POISON:
		if (opt.lie == LIE_GPA)
			gpa += page_size;
		return e->gpa == gpa && flags_ok(v, i, e->end, e->flags);
	case MMIO:
		return e->gpa == touch_gpa(t) && run->mmio.len == sizeof(u64) &&
		       run->mmio.is_write == v->mmio_write &&
		       (!run->mmio.is_write ||
			!memcmp(run->mmio.data, &v->mmio_value, sizeof(v->mmio_value)));
	case POISON:
		return sigbus.addr == page_hva(t->slot, t->page + i);
	}
	return false;
}

static int run_vcpu(struct fuzz_vcpu *v, int *err)
{
	int r;

	memset(&sigbus, 0, sizeof(sigbus));
	errno = 0;
	r = __vcpu_run(v->vcpu);
	*err = errno;
	__atomic_add_fetch(&nr.runs, 1, __ATOMIC_RELAXED);
	return r;
}

/* What the guest has done, and how often. */
static void check_done(struct fuzz_vcpu *v, bool done, u64 expected)
{
	u64 result = READ_ONCE(v->command->result);

	v->nr_done += done;
	if (opt.lie == LIE_TWICE)
		v->nr_done++;
	if (READ_ONCE(v->command->nr_done) != v->nr_done)
		fail("vCPU %d, %s: expected %lu accesses to be done, got %lu", v->nr,
		     touch_str(&v->touch), v->nr_done, v->command->nr_done);
	if (done && result != expected)
		fail("vCPU %d, %s: expected 0x%lx, got 0x%lx", v->nr,
		     touch_str(&v->touch), expected, result);
}

static void answer_mmio(struct fuzz_vcpu *v, u64 answer)
{
	struct touch *t = &v->touch;

	__atomic_add_fetch(&nr.mmios, 1, __ATOMIC_RELAXED);
	WRITE_ONCE(t->slot->pages[t->page].was_mmio[t->place], true);
	if (v->mmio_write) {
		v->state = ANSWERED;
		v->answer = adds(t->access) ? v->mmio_value - t->value : 0;
	} else {
		v->state = adds(t->access) ? HALF_DONE : ANSWERED;
		v->answer = answer;
		mmio_answer(v->vcpu, answer);
	}
}

static void put_command(struct fuzz_vcpu *v)
{
	struct touch *t = &v->touch;

	WRITE_ONCE(v->command->access, t->access);
	WRITE_ONCE(v->command->gva, touch_gpa(t));
	WRITE_ONCE(v->command->value, t->value);
	v->mmio_write = writes(t->access);
	v->mmio_value = t->value;
	v->by_emulator = false;
	v->state = PENDING;
}

/*
 * In step
 */
static void check_touched(struct fuzz_vcpu *v)
{
	int i;

	for (i = 0; i < touch_npages(&v->touch); i++)
		check_page(v->touch.slot, v->touch.page + i);
}

static void done_in_step(struct fuzz_vcpu *v)
{
	struct touch *t = &v->touch;
	u64 expected = v->answer;

	if (v->state != ANSWERED)
		expected = model_access(t);
	if (opt.lie == LIE_CONTENT && writes(t->access))
		page_content(t->slot, t->place, t->page)->words[t->word]++;
	check_done(v, true, expected);
	check_touched(v);
	v->state = IDLE;
}

static const char *expected_str(struct fuzz_vcpu *v, u8 *ends)
{
	const struct touch *t = &v->touch;
	static char str[256];
	int i, len = 0;

	for (i = 0; i < touch_npages(t); i++)
		len += snprintf(str + len, sizeof(str) - len, "%s%s at 0x%lx flags 0x%lx",
				len ? ", " : "", end_str(ends[i]),
				(unsigned long)page_gpa(t->slot, t->place, t->page + i),
				fault_flags(t->access, ends[i]));
	return str;
}

static bool can_emulate(const struct touch *t)
{
	struct page *p = &t->slot->pages[t->page];

	return t->slot->backing != GMEM && !p->private[t->place] && !p->poisoned;
}

/*
 * The emulator reads first.  What it cannot read is MMIO, and is not read again.
 * To add is to compare and exchange, i.e. if what is there by now isn't what was
 * read, the emulator starts over.  Nothing but MMIO is as good as a write.
 */
static u8 emulated_add_end(struct fuzz_vcpu *v)
{
	struct touch *t = &v->touch;
	u8 reads = page_end(t->slot, t->place, t->page, false);
	u8 writes = page_end(t->slot, t->place, t->page, true);
	u64 old = v->answer;

	v->by_emulator = true;
	v->mmio_write = v->state == HALF_DONE || reads == DONE;
	if (!v->mmio_write)
		return MMIO;

	if (v->state == PENDING)
		old = page_content(t->slot, t->place, t->page)->words[t->word];
	v->mmio_value = old + t->value;
	return writes;
}

static u8 end_in_step(struct fuzz_vcpu *v, int i)
{
	u8 end = touch_end(&v->touch, i);

	if (v->state == ANSWERED)
		return DONE;
	if (v->state == HALF_DONE || v->touch.access == EMULATED_ATOMIC)
		return emulated_add_end(v);
	/* Unless the CPU faults on the read, the write is for KVM to emulate. */
	if (v->touch.access == ATOMIC && (end & MMIO))
		return emulated_add_end(v) | (end & ~MMIO);
	return end;
}

static void run_in_step(struct fuzz_vcpu *v)
{
	struct touch *t = &v->touch;
	int i, r, err, npages = touch_npages(t);
	bool all_done = true, ok = false;
	u8 ends[2] = { DONE, DONE };
	struct end e;

	v->by_emulator = false;
	for (i = 0; i < npages; i++) {
		ends[i] = end_in_step(v, i);
		if (opt.lie == LIE_NO_FAULT && (ends[i] & FAULT))
			ends[i] = DONE;
		all_done &= ends[i] == DONE;
	}

	step("run vCPU %d, %s: %s", v->nr, touch_str(t), expected_str(v, ends));
	r = run_vcpu(v, &err);
	if (opt.lie == LIE_ERRNO && err == EFAULT)
		err = EHWPOISON;
	e = classify(v, r, err);

	if (e.end == DONE)
		ok = all_done;
	for (i = 0; i < npages; i++)
		ok |= (e.end & ends[i]) && ends_at(v, &e, i);
	if (!ok)
		fail_run(v, expected_str(v, ends), r, err);

	if (e.end == DONE) {
		done_in_step(v);
		return;
	}

	check_done(v, false, 0);
	if (e.end == MMIO)
		answer_mmio(v, rnd64(&rng));
	else if (e.end & (POISON | GMEM_POISON))
		nr.poison++;
	/* The guest is past the prefix that has had it emulated. */
	else if (t->access == EMULATED_ATOMIC && v->state == PENDING)
		t->access = ATOMIC;
}

/*
 * Some things are not for the guest to do: an access to MMIO that KVM cannot
 * emulate, or to execute what isn't code; and what the model doesn't cover: how
 * the emulator sees memory that it cannot get at by userspace's mapping.
 */
static bool can_run(const struct fuzz_vcpu *v)
{
	const struct touch *t = &v->touch;
	bool plain = t->access == READ || t->access == WRITE || emulated(t->access);
	u8 ends = touch_end(t, 0) | (crosses(t->access) ? touch_end(t, 1) : 0);

	if (emulated(t->access) || v->state == HALF_DONE)
		return can_emulate(t);
#ifdef __x86_64__
	if (t->access == ATOMIC && (ends & MMIO))
		return can_emulate(t);
#endif
	if ((ends & MMIO) && !plain)
		return false;
	if (t->access == EXEC && ends == DONE)
		return page_content(t->slot, t->place, t->page)->words[WORD_CODE] == CODE;
	return true;
}

static void choose_word(struct touch *t, u64 value)
{
	t->value = value;
	t->word = rnd(&rng, NR_WORDS);

	if (t->access == EXEC)
		t->word = WORD_CODE;
	else if (adds(t->access) && t->word == WORD_CODE)
		t->word = WORD_COUNT;
	else if (writes(t->access) && t->word == WORD_CODE)
		t->value = CODE;
	if (crosses(t->access))
		t->word = WORD_LAST;
}

static void choose_touch(struct fuzz_vcpu *v)
{
	struct touch *t = &v->touch;

	do {
		t->access = rnd(&rng, NR_ACCESSES);
		t->slot = &slots[rnd(&rng, NR_SLOTS)];
	} while (emulated(t->access) && (!has_emulation || t->slot->backing == GMEM));

	t->place = percent(&rng, 90) ? t->slot->place : !t->slot->place;
	t->page = rnd(&rng, crosses(t->access) ? NR_PAGES - 1 : NR_PAGES);
	choose_word(t, rnd64(&rng));
	put_command(v);
}

/* KVM cannot move guest_memfd. */
static bool is_gmem(const struct slot *s)
{
	return s->backing == GMEM || s->has_private;
}

static void slot_reopen(struct slot *s, int place, bool read_only)
{
	if (s->exists)
		slot_delete(s);
	if (s->closed)
		gmem_open(s);
	s->place = place;
	s->read_only = read_only;
	slot_add(s);
}

static void heal_page(struct slot *s, int place, int page)
{
	if (!s->exists || s->closed || s->read_only || (is_gmem(s) && s->place != place))
		slot_reopen(s, place, false);
	else if (s->place != place)
		slot_move(s, place);
	if (s->pages[page].private[place])
		pages_convert(s, place, page, 1, false);
	if (page >= s->eof)
		file_resize(s, NR_PAGES);
	if (s->backing == GMEM && s->pages[page].poisoned)
		page_punch(s, page);
	if (!s->pages[page].mapped || s->pages[page].poisoned) {
		if (s->pages[page].poisoned)
			page_unmap(s, page);
		page_map(s, page);
	}
	if (s->pages[page].prot != (PROT_READ | PROT_WRITE))
		page_protect(s, page, PROT_READ | PROT_WRITE);
	fill_code(s, page);
}

static void step_heal(struct fuzz_vcpu *v)
{
	struct touch *t = &v->touch;
	int i;

	if (v->state != PENDING && v->state != HALF_DONE)
		return;
	step("heal what vCPU %d wants, %s", v->nr, touch_str(t));
	for (i = 0; i < touch_npages(t); i++)
		heal_page(t->slot, t->place, t->page + i);
}

static void step_run(struct fuzz_vcpu *v)
{
	if (v->state == IDLE)
		choose_touch(v);
	if (v->state != ANSWERED && !can_run(v))
		step_heal(v);
	run_in_step(v);
}

static bool same_run(const struct kvm_run *a, const struct kvm_run *b)
{
	return a->exit_reason == b->exit_reason &&
	       !memcmp(a->padding, b->padding, sizeof(a->padding)) && opt.lie != LIE_RUN;
}

static void expect_same_run(struct fuzz_vcpu *v, const struct kvm_run *before,
			    const char *what)
{
	struct kvm_run *run = v->vcpu->run;

	if (!same_run(before, run))
		fail("vCPU %d: expected kvm_run to survive %s, exit_reason %u (%s) is now %u (%s)",
		     v->nr, what, before->exit_reason, exit_reason_str(before->exit_reason),
		     run->exit_reason, exit_reason_str(run->exit_reason));
}

/* To complete what is pending can end in the next exit, which is for a run. */
static bool is_half_done(struct fuzz_vcpu *v)
{
	if (v->state != HALF_DONE)
		return false;
	step_run(v);
	return true;
}

/* Completes what is pending, runs nothing, and leaves kvm_run alone. */
static void step_immediate_exit(struct fuzz_vcpu *v)
{
	struct kvm_run before;
	int r, err;

	if (is_half_done(v))
		return;

	step("run vCPU %d with immediate_exit", v->nr);
	v->vcpu->run->immediate_exit = 1;
	before = *v->vcpu->run;
	r = run_vcpu(v, &err);
	v->vcpu->run->immediate_exit = 0;

	if (r != -1 || err != EINTR || sigbus.nr)
		fail_run(v, "-1 with EINTR, due to immediate_exit", r, err);
	expect_same_run(v, &before, "immediate_exit");
	check_done(v, false, 0);
}

/* The signal is pending before KVM_RUN begins, which unblocks it. */
static void step_signal(struct fuzz_vcpu *v)
{
	struct kvm_run before = *v->vcpu->run;
	struct timespec now = {};
	sigset_t set;
	int r, err;

	if (is_half_done(v))
		return;
	if (v->state == IDLE && percent(&rng, 50))
		choose_touch(v);

	step("run vCPU %d with a signal pending", v->nr);
	nr.signals++;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	raise(SIGUSR1);
	r = run_vcpu(v, &err);
	TEST_ASSERT(sigtimedwait(&set, NULL, &now) == SIGUSR1, "The signal is lost");

	if (r != -1 || err != EINTR || sigbus.nr ||
	    (v->vcpu->run->exit_reason != before.exit_reason &&
	     v->vcpu->run->exit_reason != KVM_EXIT_INTR &&
	     v->vcpu->run->exit_reason != KVM_EXIT_UNKNOWN))
		fail_run(v, "-1 with EINTR, due to a signal", r, err);
	check_done(v, false, 0);
}

#ifdef __x86_64__
static void save_and_load_state(struct kvm_vcpu *vcpu)
{
	struct kvm_x86_state *state = vcpu_save_state(vcpu);

	vcpu_load_state(vcpu, state);
	kvm_x86_state_cleanup(state);
}
#else
static void save_and_load_state(struct kvm_vcpu *vcpu)
{
	static struct kvm_reg_list *list;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	u8 value[KVM_REG_SIZE(KVM_REG_SIZE_U2048)];
	struct kvm_one_reg reg = { .addr = (u64)value };
	int i;

	if (!list)
		list = vcpu_get_reg_list(vcpu);

	vcpu_events_get(vcpu, &events);
	vcpu_mp_state_get(vcpu, &mp_state);
	for (i = 0; i < list->n; i++) {
		reg.id = list->reg[i];
		if ((reg.id & KVM_REG_ARM_COPROC_MASK) != KVM_REG_ARM_CORE)
			continue;
		vcpu_ioctl(vcpu, KVM_GET_ONE_REG, &reg);
		vcpu_ioctl(vcpu, KVM_SET_ONE_REG, &reg);
	}
	vcpu_mp_state_set(vcpu, &mp_state);
	vcpu_events_set(vcpu, &events);
}
#endif

/* State is consistent once the exit is completed, and a fault has nothing to. */
static void step_state(struct fuzz_vcpu *v)
{
	struct kvm_run before;

	if (is_half_done(v))
		return;
	if (v->vcpu->run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		step_immediate_exit(v);
	step("get and set the state of vCPU %d", v->nr);
	before = *v->vcpu->run;
	save_and_load_state(v->vcpu);
	expect_same_run(v, &before, "getting and setting state");
	check_done(v, false, 0);
}

/* The errno that a page is good for, if it is the first one. */
static bool pre_fault_errno_ok(const struct slot *s, int place, int page, int err)
{
	u8 ends = page_end(s, place, page, false);

	switch (err) {
	case 0:
		return ends & DONE;
	case EFAULT:
		return ends & (FAULT | FAULT_PRIVATE);
	case ENOENT:
		return (ends & MMIO) ||
		       ((ends & FAULT_PRIVATE) && !(s->exists && s->place == place));
	case EHWPOISON:
		return ends & GMEM_POISON;
	case EINTR:
		return (ends & POISON) && sigbus.addr == page_hva(s, page);
	}
	return false;
}

static void step_pre_fault(struct fuzz_vcpu *v)
{
	struct slot *s = &slots[rnd(&rng, NR_SLOTS)];
	int place = rnd(&rng, NR_PLACES), page = rnd(&rng, NR_PAGES), r, err;
	int npages = 1 + rnd(&rng, NR_PAGES - page);
	struct kvm_pre_fault_memory range = {
		.gpa = page_gpa(s, place, page),
		.size = npages * page_size,
	};
	struct kvm_run before = *v->vcpu->run;
	int n = 0;

	step("pre-fault %d pages at 0x%llx, slot %d page %d, by vCPU %d", npages,
	     range.gpa, slot_index(s), page, v->nr);
	memset(&sigbus, 0, sizeof(sigbus));
	r = __vcpu_ioctl(v->vcpu, KVM_PRE_FAULT_MEMORY, &range);
	err = r ? errno : 0;

	while (n < npages && page_end(s, place, page + n, false) == DONE)
		n++;
	if (n < npages && page_end(s, place, page + n, false) == MMIO)
		s->pages[page + n].was_mmio[place] = true;
	if (!pre_fault_errno_ok(s, place, page, err))
		fail("KVM_PRE_FAULT_MEMORY: expected %s, got %d with errno %d (%s)",
		     end_str(page_end(s, place, page, false)), r, err, strerror(err));
	if (range.size != (npages - n) * page_size ||
	    range.gpa != page_gpa(s, place, page + n))
		fail("KVM_PRE_FAULT_MEMORY: expected to get %d pages far, got to 0x%llx",
		     n, range.gpa);
	if (memcmp(&before, v->vcpu->run, sizeof(before)))
		fail("Expected kvm_run to survive KVM_PRE_FAULT_MEMORY");
}

static void step_protect(struct slot *s, int page)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	int prot = prots[rnd(&rng, ARRAY_SIZE(prots))];

	if (!s->pages[page].mapped || s->closed)
		return;
	step("protect slot %d page %d: %d", slot_index(s), page, prot);
	page_protect(s, page, prot);
}

static void step_map(struct slot *s, int page)
{
	if (s->closed)
		return;
	if (s->pages[page].mapped && percent(&rng, 70)) {
		step("unmap slot %d page %d", slot_index(s), page);
		page_unmap(s, page);
	} else {
		step("map slot %d page %d", slot_index(s), page);
		page_map(s, page);
		if (percent(&rng, 70))
			fill_code(s, page);
	}
}

static void step_resize(struct slot *s, int page)
{
	int npages = percent(&rng, 50) ? NR_PAGES : page;

	if (s->backing != FILE_SHARED)
		return;
	step("resize the file of slot %d to %d pages", slot_index(s), npages);
	file_resize(s, npages);
	for (page = 0; page < npages; page++)
		fill_code(s, page);
}

static void step_punch(struct slot *s, int page)
{
	if (s->has_private && percent(&rng, 50)) {
		step("punch a hole in private memory, slot %d page %d", slot_index(s), page);
		page_punch_private(s, page);
		return;
	}

	if (s->fd < 0 || s->closed || page >= s->eof)
		return;
	step("punch a hole, slot %d page %d", slot_index(s), page);
	page_punch(s, page);
	fill_code(s, page);
}

static void step_poison(struct slot *s, int page)
{
	if (!can_poison || s->backing == FILE_SHARED)
		return;
	step("poison slot %d page %d", slot_index(s), page);
	page_poison(s, page);
}

static void step_convert(struct slot *s, int page)
{
	int npages = 1 + rnd(&rng, NR_PAGES - page), place;
	bool private = percent(&rng, 50);

	if (!has_private_memory)
		return;
	place = percent(&rng, 80) ? s->place : !s->place;
	step("convert %d pages of slot %d place %d from page %d: %d", npages,
	     slot_index(s), place, page, private);
	pages_convert(s, place, page, npages, private);
}

static void step_slot(struct slot *s)
{
	bool gmem = is_gmem(s), read_only;
	u32 what = rnd(&rng, 5), place;

	if (!s->exists || what == 4) {
		place = rnd(&rng, NR_PLACES);
		read_only = has_read_only && !gmem && percent(&rng, 30);
		step("add slot %d at place %u, read-only %d", slot_index(s), place,
		     read_only);
		slot_reopen(s, place, read_only);
	} else if (what == 0) {
		step("delete slot %d", slot_index(s));
		slot_delete(s);
	} else if (what == 1 && !gmem) {
		step("move slot %d to place %d", slot_index(s), !s->place);
		slot_move(s, !s->place);
	} else if (what == 2 && !gmem) {
		step("log dirty pages of slot %d: %d", slot_index(s), !s->log_dirty);
		slot_set_log_dirty(s, !s->log_dirty);
	} else if (what == 3 && s->backing == GMEM && !s->closed && percent(&rng, 30)) {
		step("close guest_memfd of slot %d", slot_index(s));
		gmem_close(s);
	}
}

static void one_step(void)
{
	struct fuzz_vcpu *v = &vcpus[rnd(&rng, nr_vcpus)];
	struct slot *s = &slots[rnd(&rng, NR_SLOTS)];
	int page = rnd(&rng, NR_PAGES), what = rnd(&rng, 100);

	if (what < 50)
		step_run(v);
	else if (what < 58)
		step_heal(v);
	else if (what < 65)
		step_protect(s, page);
	else if (what < 72)
		step_map(s, page);
	else if (what < 75)
		step_resize(s, page);
	else if (what < 78)
		step_punch(s, page);
	else if (what < 80)
		step_poison(s, page);
	else if (what < 84)
		step_convert(s, page);
	else if (what < 88)
		step_slot(s);
	else if (what < 92)
		step_immediate_exit(v);
	else if (what < 95)
		step_signal(v);
	else if (what < 97)
		step_state(v);
	else if (what < 99)
		if (can_pre_fault)
			step_pre_fault(v);
		else
			step_run(v);
	else
		check_all_pages();
}

/*
 * A VM, for a while
 */
static void vcpu_init(struct fuzz_vcpu *v, int i)
{
	static const struct {
		struct kvm_signal_mask mask;
		u64 blocked;
	} none = { .mask.len = sizeof(u64) };

	memset(v, 0, sizeof(*v));
	v->nr = i;
	v->touch.slot = &slots[0];
	v->vcpu = vm_vcpu_add(vm, i, guest_code);
	v->command = addr_gva2hva(vm, (gva_t)&commands[i]);
	vcpu_args_set(v->vcpu, 1, (u64)i);
	if (!racing)
		vcpu_ioctl(v->vcpu, KVM_SET_SIGNAL_MASK, &none.mask);
}

static u64 choose_flags(void)
{
	u64 flags = kvm_check_cap(KVM_CAP_MEMORY_FAULT_FLAGS);

	return percent(&rng, 70) ? flags : flags & rnd64(&rng);
}

static void round_begin(void)
{
	struct vm_shape shape = { .mode = VM_MODE_DEFAULT };
	bool gmem = kvm_has_cap(KVM_CAP_GUEST_MEMFD) && has_gmem_mmap();
	int i;

	nr.rounds++;
	has_private_memory = false;
#ifdef __x86_64__
	has_private_memory = kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM);
	has_private_memory &= percent(&rng, 50);
	if (has_private_memory)
		shape.type = KVM_X86_SW_PROTECTED_VM;
#endif
	nr_vcpus = racing ? 2 + rnd(&rng, MAX_VCPUS - 1) : 1 + rnd(&rng, MAX_VCPUS);
	nr_vcpus = opt.nr_vcpus ?: nr_vcpus;

	vm = __vm_create(shape, nr_vcpus, 64);
	sync_global_to_guest(vm, has_atomics);
	has_read_only = vm_check_cap(vm, KVM_CAP_READONLY_MEM);
	enabled_flags = choose_flags();
	if (enabled_flags)
		vm_enable_cap(vm, KVM_CAP_MEMORY_FAULT_FLAGS, enabled_flags);

	slot_init(0, FILE_SHARED, false);
	slot_init(1, racing ? FILE_SHARED : ANONYMOUS, false);
	slot_init(2, gmem && !has_private_memory ? GMEM : FILE_SHARED, has_private_memory);

	for (i = 0; i < nr_vcpus; i++)
		vcpu_init(&vcpus[i], i);
	kvm_arch_vm_finalize_vcpus(vm);
	step("a new VM, %d vCPUs, flags 0x%lx, slot 2 is %s%s", nr_vcpus, enabled_flags,
	     backing_names[slots[2].backing], has_private_memory ? ", private memory" : "");
}

static void round_end(void)
{
	struct fuzz_vcpu *v;
	u64 faults;
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		v = &vcpus[i];
		faults = vcpu_get_stat(v->vcpu, memory_fault_exits);
		if (faults != v->nr_faults)
			fail("vCPU %d: expected memory_fault_exits to be %lu, got %lu",
			     i, v->nr_faults, faults);
		faults = vcpu_get_stat(v->vcpu, memory_fault_unexplained);
		if (faults)
			fail("vCPU %d: expected memory_fault_unexplained to be 0, got %lu",
			     i, faults);
		nr.faults += v->nr_faults;
	}

	kvm_vm_free(vm);
	for (i = 0; i < NR_SLOTS; i++)
		slot_free(&slots[i]);
}

static bool in_time(time_t end)
{
	alarm(HANG_SECONDS);
	return !end || time(NULL) < end;
}

/* Up to step @nr_steps, or until @end. */
static void fuzz_in_step(u64 nr_steps, time_t end)
{
	u64 i;

	racing = false;
	rng = new_rng(opt.seed, 0, 0);
	while (in_time(end) && (!nr_steps || nr.steps < nr_steps)) {
		round_begin();
		for (i = 0; i < ROUND_STEPS && in_time(end); i++) {
			if (nr_steps && nr.steps == nr_steps)
				break;
			nr.steps++;
			one_step();
		}
		check_all_pages();
		round_end();
	}
}

/*
 * Racing: slot 0 is unmapped and protected, slot 1 is deleted, moved and added
 * again, and slot 2 is converted, or else treated like slot 1.
 */
static bool stop;

static bool converts(const struct slot *s)
{
	return s->has_private;
}

static void choose_racing_touch(struct fuzz_vcpu *v)
{
	static const enum access mapped[] = {
		READ, WRITE, ATOMIC, ATOMIC, EXEC, READ_ACROSS, WRITE_ACROSS,
		EMULATED_READ, EMULATED_WRITE,
	};
	struct touch *t = &v->touch;
	int nr_accesses = ARRAY_SIZE(mapped) - (has_emulation ? 0 : 2);

	t->slot = &slots[rnd(&v->rng, NR_SLOTS)];
	t->place = slot_index(t->slot) == 1 ? rnd(&v->rng, NR_PLACES) : 0;
	if (converts(t->slot))
		t->access = ATOMIC;
	else if (slot_index(t->slot))
		t->access = rnd(&v->rng, 2) ? READ : WRITE;
	else
		t->access = mapped[rnd(&v->rng, nr_accesses)];

	t->page = rnd(&v->rng, crosses(t->access) ? NR_PAGES - 1 : NR_PAGES);
	t->word = WORD_OWN + v->nr;
	t->value = rnd64(&v->rng);
	if (t->access == EXEC) {
		t->word = WORD_CODE;
	} else if (t->access == ATOMIC) {
		t->word = WORD_COUNT;
		t->value = 1;
	} else if (crosses(t->access)) {
		t->word = WORD_LAST;
		t->value = 0;
	}
	put_command(v);
}

static void done_racing(struct fuzz_vcpu *v, bool by_memory)
{
	struct touch *t = &v->touch;
	u64 *own = &v->own[slot_index(t->slot)][t->page];
	u64 expected = by_memory ? *own : v->answer;

	if (t->access == EXEC)
		expected = t->value + 1;
	else if (t->access == ATOMIC)
		expected = v->command->result;
	else if (writes(t->access) || crosses(t->access))
		expected = 0;
	check_done(v, true, expected);

	if (t->access == ATOMIC)
		v->nr_added[slot_index(t->slot)][t->page]++;
	else if (writes(t->access) && !crosses(t->access) && by_memory)
		*own = t->value;
	v->state = IDLE;
}

/* What each page of the access was good for since the access is under way. */
static void explain(struct fuzz_vcpu *v, const struct end *e, int r, int err)
{
	struct touch *t = &v->touch;
	bool ok = e->end == DONE;
	u8 ends, all = 0;
	int i;

	for (i = 0; i < touch_npages(t); i++) {
		ends = history_ends(t, i, v->since[i]);
		if (emulated(t->access) && (ends & FAULT))
			ends |= MMIO;
		if (opt.lie == LIE_RACE_NO_FAULT)
			ends &= ~FAULT;
		all |= ends;
		if (e->end == DONE)
			ok &= !!(ends & DONE);
		else
			ok |= (ends & e->end) && ends_at(v, e, i);
	}
	if (!ok)
		fail_run(v, end_str(all), r, err);
}

static void run_racing(struct fuzz_vcpu *v, bool restart)
{
	bool immediate = percent(&v->rng, 2);
	u64 signals = nr_signals;
	struct end e;
	int r, err;

	if (restart && v->state == PENDING) {
		v->since[0] = history_now(&v->touch, 0);
		if (crosses(v->touch.access))
			v->since[1] = history_now(&v->touch, 1);
	}

	v->vcpu->run->immediate_exit = immediate;
	r = run_vcpu(v, &err);
	if (r == -1 && err == EINTR && !sigbus.nr) {
		if (!immediate && signals == nr_signals)
			fail_run(v, "no EINTR without a signal", r, err);
		run_racing(v, false);
		return;
	}

	e = classify(v, r, err);
	if (immediate || !e.end)
		fail_run(v, immediate ? "EINTR" : "a known end", r, err);
	if (v->state == PENDING)
		explain(v, &e, r, err);

	if (e.end == DONE)
		done_racing(v, v->state == PENDING);
	else if (v->state == ANSWERED)
		fail_run(v, "the access to be done", r, err);
	else if (e.end == MMIO)
		answer_mmio(v, rnd64(&v->rng));
	else
		usleep(rnd(&v->rng, 200));
}

static void *racing_vcpu(void *arg)
{
	struct fuzz_vcpu *v = arg;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	while (v->state != IDLE || !READ_ONCE(stop)) {
		if (v->state == IDLE)
			choose_racing_touch(v);
		run_racing(v, true);
	}
	return NULL;
}

static void mutate_mapping(struct slot *s)
{
	int page = rnd(&rng, NR_PAGES);
	struct page *p = &s->pages[page];

	if (!p->mapped)
		page_map(s, page);
	else if (p->prot != (PROT_READ | PROT_WRITE))
		page_protect(s, page, PROT_READ | PROT_WRITE);
	else if (percent(&rng, 20))
		page_unmap(s, page);
	else if (percent(&rng, 40))
		page_protect(s, page, percent(&rng, 50) ? PROT_NONE : PROT_READ);
}

static void mutate_slot(struct slot *s)
{
	bool read_only = has_read_only && !is_gmem(s) && percent(&rng, 50);
	int place = is_gmem(s) ? 0 : rnd(&rng, NR_PLACES);

	if (!s->exists)
		slot_reopen(s, place, read_only);
	else if (percent(&rng, 30))
		slot_delete(s);
	else if (!is_gmem(s) && percent(&rng, 50))
		slot_move(s, !s->place);
	else
		slot_reopen(s, place, read_only);
}

static void mutate_attributes(struct slot *s)
{
	int page = rnd(&rng, NR_PAGES), npages = 1 + rnd(&rng, NR_PAGES - page);

	if (percent(&rng, 20))
		page_protect(s, page, percent(&rng, 50) ? PROT_NONE : PROT_READ | PROT_WRITE);
	else
		pages_convert(s, 0, page, npages, percent(&rng, 50));
}

static void mutate(void)
{
	struct slot *s = &slots[rnd(&rng, NR_SLOTS)];

	if (percent(&rng, 10)) {
		nr.signals++;
		pthread_kill(vcpus[rnd(&rng, nr_vcpus)].thread, SIGUSR1);
	}

	if (converts(s))
		mutate_attributes(s);
	else if (slot_index(s))
		mutate_slot(s);
	else
		mutate_mapping(s);

	if (percent(&rng, 50))
		usleep(rnd(&rng, 500));
	else if (percent(&rng, 50))
		sched_yield();
}

/* Private memory is for the guest alone to look at. */
static u64 private_count(struct slot *s, int page)
{
	struct fuzz_vcpu *v = &vcpus[0];

	if (!s->has_private)
		return 0;

	pages_convert(s, 0, page, 1, true);
	v->touch = (struct touch){ .access = ATOMIC, .slot = s, .page = page,
				   .word = WORD_COUNT };
	put_command(v);
	while (v->state != IDLE)
		run_racing(v, true);
	v->nr_added[slot_index(s)][page]--;
	return v->command->result;
}

static void check_race(struct slot *s, int page)
{
	u64 *words = s->alias + page * page_size, added = opt.lie == LIE_RACE_LOST, got;
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		added += vcpus[i].nr_added[slot_index(s)][page];
		got = words[word_offset(WORD_OWN + i) / sizeof(u64)];
		if (got != vcpus[i].own[slot_index(s)][page])
			fail("Expected 0x%lx, which vCPU %d wrote to page %d of slot %d, got 0x%lx",
			     vcpus[i].own[slot_index(s)][page], i, page, slot_index(s), got);
	}

	got = words[word_offset(WORD_COUNT) / sizeof(u64)] + private_count(s, page);
	if (got != added)
		fail("Expected 1 to be added %lu times to page %d of slot %d, got %lu",
		     added, page, slot_index(s), got);
}

static void race(int nr_changes, time_t end)
{
	int i, page;

	WRITE_ONCE(stop, false);
	for (i = 0; i < nr_vcpus; i++) {
		vcpus[i].rng = new_rng(opt.seed, nr.rounds, i);
		kvm_pthread_create(&vcpus[i].thread, NULL, racing_vcpu, &vcpus[i]);
	}

	for (i = 0; i < nr_changes && in_time(end); i++)
		mutate();

	for (i = 0; i < NR_SLOTS; i++)
		for (page = 0; page < NR_PAGES; page++)
			heal_page(&slots[i], 0, page);
	WRITE_ONCE(stop, true);
	for (i = 0; i < nr_vcpus; i++)
		kvm_pthread_join(vcpus[i].thread, NULL);

	for (i = 0; i < NR_SLOTS; i++)
		for (page = 0; page < NR_PAGES; page++)
			check_race(&slots[i], page);
	nr.races++;
}

static void fuzz_racing(unsigned int rounds, int nr_changes, time_t end)
{
	racing = true;
	rng = new_rng(opt.seed, 1, 0);
	nr.rounds = 0;
	do {
		round_begin();
		race(nr_changes, end);
		round_end();
	} while (--rounds && in_time(end));
}

/*
 * A test that cannot fail is worth nothing: see that each lie is noticed.
 */
static bool lie_is_noticed(enum lie lie)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	TEST_ASSERT(pid >= 0, __KVM_SYSCALL_ERROR("fork()", pid));
	if (!pid) {
		opt.lie = lie;
		opt.verbose = false;
		TEST_ASSERT(freopen("/dev/null", "w", stdout), "No /dev/null");
		if (lie < LIE_RACE_NO_FAULT)
			fuzz_in_step(LIE_STEPS, 0);
		else
			fuzz_racing(1, LIE_CHANGES, 0);
		_exit(KSFT_PASS);
	}

	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid()");
	return WIFEXITED(status) && WEXITSTATUS(status) == KSFT_XFAIL;
}

static void test_lies(void)
{
	int lie, noticed = 0;

	for (lie = NO_LIE + 1; lie < NR_LIES; lie++) {
		if (lie_is_noticed(lie))
			noticed++;
		else
			ksft_print_msg("The lie is not noticed: %s\n", lie_names[lie]);
	}
	ksft_test_result(noticed == NR_LIES - 1, "%d of %d lies of the model are noticed\n",
			 noticed, NR_LIES - 1);
}

static void test_in_step(time_t end)
{
	finished = false;
	memset(&nr, 0, sizeof(nr));
	fuzz_in_step(opt.nr_steps, end);
	finished = true;
	ksft_print_msg("%u VMs, %lu changes, %lu MMIO exits, %lu on poison, %lu signals\n",
		       nr.rounds, nr.changes, nr.mmios, nr.poison, nr.signals);
	ksft_test_result_pass("in step: %lu steps, %lu KVM_RUNs, %lu faults\n",
			      nr.steps, nr.runs, nr.faults);
}

static void test_racing(time_t end)
{
	finished = false;
	memset(&nr, 0, sizeof(nr));
	fuzz_racing(0, ROUND_CHANGES, end);
	finished = true;
	ksft_print_msg("%u VMs, %lu changes, %lu MMIO exits, %lu signals\n",
		       nr.rounds, nr.changes, nr.mmios, nr.signals);
	ksft_test_result_pass("racing: %lu KVM_RUNs, %lu faults\n", nr.runs, nr.faults);
}

static void init_signals(void)
{
	struct sigaction bus = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	struct sigaction usr1 = { .sa_handler = on_signal };
	struct sigaction alrm = { .sa_handler = on_alarm };
	sigset_t set;

	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGUSR1, &usr1, NULL);
	sigaction(SIGALRM, &alrm, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void init_features(void)
{
	page_size = getpagesize();
	can_poison = !geteuid() && !madvise(NULL, 0, MADV_HWPOISON);
#ifdef __x86_64__
	has_emulation = is_forced_emulation_enabled;
	can_pre_fault = kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY) && kvm_cpu_has_tdp();
	is_vmx = host_cpu_is_intel;
#else
	has_atomics = getauxval(AT_HWCAP) & HWCAP_ATOMICS;
#endif
}

static void help(const char *name)
{
	printf("usage: %s [-s SEED] [-t SECONDS] [-n STEPS] [-v VCPUS] [-l LIE] [-V]\n"
	       " -s: where the random numbers begin, %d without, 0 or \"random\" for any\n"
	       " -t: how long, %d without, half of it in step, half of it racing\n"
	       " -n: in step alone, up to this step\n"
	       " -v: 1 to %d, without it varies\n"
	       " -l: 1 to %d, the model lies, has to fail\n"
	       " -V: tell each step\n",
	       name, DEFAULT_SEED, DEFAULT_SECONDS, MAX_VCPUS, NR_LIES - 1);
}

static void parse_options(int argc, char *argv[])
{
	int o;

	while ((o = getopt(argc, argv, "hs:t:n:v:l:V")) != -1) {
		switch (o) {
		case 's':
			opt.seed = strcmp(optarg, "random") ? strtoull(optarg, NULL, 0) : 0;
			break;
		case 't':
			opt.seconds = atoi_positive("Number of seconds", optarg);
			break;
		case 'n':
			opt.nr_steps = atoi_positive("Number of steps", optarg);
			break;
		case 'v':
			opt.nr_vcpus = atoi_positive("Number of vCPUs", optarg);
			TEST_ASSERT(opt.nr_vcpus <= MAX_VCPUS, "At most %d vCPUs", MAX_VCPUS);
			break;
		case 'l':
			opt.lie = atoi_positive("Number of the lie", optarg);
			break;
		case 'V':
			opt.verbose = true;
			break;
		default:
			help(argv[0]);
			exit(o == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}

	while (!opt.seed)
		TEST_ASSERT(getrandom(&opt.seed, sizeof(u32), 0) > 0, "getrandom()");
}

int main(int argc, char *argv[])
{
	time_t begin;

	parse_options(argc, argv);
	init_signals();
	init_features();
	atexit(tell_how_to_repeat);

	ksft_print_header();
	ksft_set_plan(opt.nr_steps ? 1 : 3);
	ksft_print_msg("seed %lu\n", opt.seed);

	if (opt.nr_steps) {
		test_in_step(0);
		ksft_finished();
	}

	test_lies();
	begin = time(NULL);
	test_in_step(begin + (opt.seconds + 1) / 2);
	test_racing(begin + opt.seconds);
	ksft_finished();
}
