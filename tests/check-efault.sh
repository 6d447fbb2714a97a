#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make check-efault on a kernel of a few functions: it finds each form that an
# errno can come in, and each way in which the page and the code can disagree.
# shellcheck source=tests/lib.bash
. "$(dirname "$0")/lib.bash"

T=$WORK/tree
MAIN=$T/virt/kvm/kvm_main.c
MMU=$T/arch/x86/kvm/mmu.c
export PAGE=$WORK/efault.md BUILD=$WORK/build TREE=$T

# fresh: the tree and the page that agree.
fresh() {
	rm -rf "$T"
	mkdir -p "$T"/{virt/kvm,arch/x86/kvm,arch/arm64/kvm/hyp/nvhe,include/linux}
	fresh_tree
	fresh_page
}

fresh_tree() {
	cat >"$T/virt/kvm/memory_fault.c" <<-'END'
	int kvm_prepare_memory_fault_exit(struct kvm_vcpu *vcpu, gpa_t gpa, int err)
	{
		vcpu->memory_fault.err = err;
		return err == -EFAULT || err == -EHWPOISON ? err : 0;
	}
	int kvm_publish(struct kvm_vcpu *vcpu)
	{
		vcpu->run->exit_reason = KVM_EXIT_MEMORY_FAULT;
	}
	END
	cat >"$MAIN" <<-'END'
	int kvm_read_guest(struct kvm *kvm, void *data, void __user *from)
	{
		if (__copy_from_user(data, from, 8))
			return -EFAULT;
		return 0;
	}
	static long kvm_vcpu_ioctl(struct file *filep, void __user *argp)
	{
		int r = 0;

		if (copy_from_user(&x, argp, 8))
			r = -EFAULT;
		return r;
	}
	END
	cat >"$MMU" <<-'END'
	static int map_page(struct kvm_vcpu *vcpu, gpa_t gpa)
	{
		u64 pte;
		int r;

		r = kvm_read_guest(vcpu->kvm, &pte, gpa);
		if (r)
			return r;
		if (kvm_read_guest(vcpu->kvm, &pte, gpa + 8))
			return 1;
		return 0;
	}
	int page_fault(struct kvm_vcpu *vcpu, gpa_t gpa)
	{
		int r = map_page(vcpu, gpa);

		if (r == -EFAULT)
			return kvm_prepare_memory_fault_exit(vcpu, gpa, r);
		return r;
	}
	END
}

fresh_page() {
	cat >"$PAGE" <<-'END'
	<!-- a page -->
	## Functions
	| Function | Role |
	|---|---|
	| `kvm_prepare_memory_fault_exit` | records |
	| `get_user` | returns |
	## The places
	### arch/x86/kvm/mmu.c
	| Function | What | Class | Why |
	|---|---|---|---|
	| `map_page` | `r = kvm_read_guest()` × 1 | recorded | by `page_fault()` |
	### virt/kvm/kvm_main.c
	| `kvm_read_guest` | `return -EFAULT` × 1 | helper | passed on |
	| `kvm_vcpu_ioctl` | `r = -EFAULT` × 1 | uaccess | an ioctl |
	END
}

check() { run "$HERE/scripts/check-efault.sh"; }

# place NAME EXPRESSION FILE: the C on stdin, appended to FILE, is found as
# EXPRESSION.
place() {
	fresh
	cat >>"$3"
	check
	fails "\`$2\` in $1() is not in efault.md" "not ok"
	result "finds $2 in $1()"
}

# no_place NAME FILE: the C on stdin is none.
no_place() {
	fresh
	cat >>"$2"
	check
	ok '0 failed'
	result "$1"
}

fresh
check
ok '3 places in 3 files' '0 failed'
grep -qP '^arch/x86/kvm/mmu.c:6\tmap_page\tr = kvm_read_guest\(\)\trecorded\t' \
	"$BUILD/efault.tsv" || bad 'no line in efault.tsv'
result 'page and code agree, the report has the lines'

fresh
sed -i 's/return 1;/return -EFAULT;/' "$MMU"
check
fails "arch/x86/kvm/mmu.c:10: \`return -EFAULT\` in map_page() is not in efault.md" \
	'over a guest access: record it' "| \`map_page\` | \`return -EFAULT\` × 1 |"
result 'a bare -EFAULT in the fault path'

place f 'return ?: -EFAULT' "$MMU" <<'END'
int f(int x) { return x ? -EFAULT : 0; }
END
place f '*r = -EFAULT' "$MMU" <<'END'
int f(int *r) { if (*r) *r = -EFAULT; }
END
place f 'int_set(…, -EHWPOISON)' "$MMU" <<'END'
void f(int *r) { int_set(r, -EHWPOISON); }
END
place f 'return ERR_PTR(-EFAULT)' "$MMU" <<'END'
void *f(void) { return ERR_PTR(-EFAULT); }
END
place '#define BAD' 'return -EFAULT' "$MMU" <<'END'
#define BAD(x)		\
	do {		\
		if (x)	\
			return -EFAULT; /* in a macro */ \
	} while (0)
END
place 'FNAME(walk)' 'return -EFAULT' "$T/arch/x86/kvm/tmpl.h" <<'END'
static int FNAME(walk)(struct kvm_vcpu *vcpu) { return -EFAULT; }
END
place f 'pfn = KVM_PFN_ERR_FAULT' "$T/include/linux/kvm_host.h" <<'END'
kvm_pfn_t f(void) { kvm_pfn_t pfn = KVM_PFN_ERR_FAULT; return pfn; }
END
place f 'return get_user()' "$T/arch/arm64/kvm/guest.c" <<'END'
static noinline int __must_check f(u64 __user *p) { return get_user(x, p); }
END
place f 'PTR_ERR(-EFAULT)' "$MMU" <<'END'
int f(void) { for (;;) g(); PTR_ERR(-EFAULT); }
END
place '#define F' 'kvm_read_guest()' "$MMU" <<'END'
#define F(a, b) (kvm_read_guest(a, b, 0))
END
place '#define F' 'kvm_read_guest()' "$MMU" <<'END'
#define F(a) ({ u64 x; kvm_read_guest(a, &x, 0); })
END
place f '_ASM_EXTABLE_UACCESS_ERR' "$MMU" <<'END'
int f(void) { int r = 0; asm("1:" _ASM_EXTABLE_UACCESS_ERR(1b, 2b, %w[r]) : "+r" (r)); return r; }
END
place g '&kvm_read_guest' "$MMU" <<'END'
struct ops g = { .read = kvm_read_guest, };
END
place b 'return -EFAULT' "$MMU" <<'END'
int a(void)
{
#ifdef CONFIG_A
	if (a) {
#else
	if (b) {
#endif
		return 0;
	}
}
int b(void) { return -EFAULT; }
END

no_place 'comments, strings, comparisons, tests and ignored calls are none' "$MMU" <<'END'
/* return -EFAULT; */
int f(char *s)
{
	int r = page_fault(); // r = -EFAULT;

	s = "return -EFAULT; /*";
	if (r == -EFAULT || -EFAULT == r)
		return 1;
	switch (r) { case -EFAULT: return 2; }
	if (kvm_read_guest(0, 0, 0) || unlikely(!kvm_read_guest(1, 1, 1)))
		return 3;
	kvm_read_guest(2, 2, 2);
	return kvm_read_guest(3, 3, 3) ? 4 : 5;
}
END
place f 'tests run()' "$MMU" <<'END'
int run(struct kvm_vcpu *vcpu)
{
	int r = kvm_prepare_memory_fault_exit(vcpu, 0, -EINVAL);

	return r;
}
int f(struct kvm_vcpu *vcpu) { return run(vcpu) ? 1 : 0; }
END
no_place 'what returns nothing has no errno to lose' "$MMU" <<'END'
void run(struct kvm_vcpu *vcpu)
{
	int r = kvm_prepare_memory_fault_exit(vcpu, 0, -EINVAL);

	vcpu->r = r;
}
int f(struct kvm_vcpu *vcpu) { run(vcpu); }
END
no_place 'KUnit tests are none' "$T/virt/kvm/x_kunit.c" <<'END'
int f(void) { return -EFAULT; }
END

fresh
sed -i '/kvm_vcpu_ioctl/d' "$PAGE"
check
fails "virt/kvm/kvm_main.c:12: \`r = -EFAULT\` in kvm_vcpu_ioctl() is not in"
result 'a row is missing'

fresh
sed -i 's/r = -EFAULT/r = -EINVAL/' "$MAIN"
check
fails "efault.md: \`r = -EFAULT\` in kvm_vcpu_ioctl(), virt/kvm/kvm_main.c, is gone"
result 'a place is gone'

fresh
sed -i 's/return 0;/return -EFAULT;/' "$MAIN"
check
fails "virt/kvm/kvm_main.c:4,5: \`return -EFAULT\` in kvm_read_guest() is there 2 times"
result 'a second place like the first'

fresh
sed -i "s/× 1 | helper/× 1 | uaccess/" "$PAGE"
check
fails "\`r = kvm_read_guest()\` in map_page(), arch/x86/kvm/mmu.c, is gone"
result 'callers of a helper have rows only because it is one'

fresh
sed -i 's/return kvm_prepare.*/return r;/' "$MMU"
check
fails 'not ok 3 class recorded' 'calls one that records'
result 'the call that records is gone'

fresh
sed -i 's/int r = map_page(vcpu, gpa)/int r = 0/' "$MMU"
check
fails 'page_fault() neither calls nor is called by map_page()'
result 'the way to the record is broken'

fresh
sed -i "s/by \`page_fault()\`/by \`fault()\`/" "$PAGE"
check
fails 'there is no function fault()'
result 'a reason names a function that does not exist'

fresh
cat >>"$MMU" <<'END'
int f(void) { return kvm_prepare_memory_fault_exit(0, 0, -EFAULT); }
END
sed -i "s/^### virt.*/| \`f\` | \`kvm_prepare_memory_fault_exit(…, -EFAULT)\` × 1 | guest | #PF |\n&/" "$PAGE"
check
fails 'class guest' 'is "guest", but kvm_prepare_memory_fault_exit'
result 'a record that is classified as none'

fresh
sed -i 's/r = 0;/r = kvm_prepare_memory_fault_exit(filep, 0, 0);/' "$MAIN"
check
fails 'is "uaccess", but the function records a memory fault'
result 'an ioctl that records'

fresh
sed -i 's/copy_from_user(&x, argp, 8)/argp/' "$MAIN"
check
fails 'is "uaccess", but does not access memory of userspace'
result 'uaccess without an access'

for class in bug hyp; do
	fresh
	sed -i "s/1 | uaccess/1 | $class/" "$PAGE"
	check
	fails "is \"$class\", but"
	result "$class without a reason to"
done

place f 'tests kvm_prepare_memory_fault_exit()' "$MMU" <<'END'
void f(void) { if (x) kvm_prepare_memory_fault_exit(0, 0, r); }
END
says 'its errno is lost: return it'
result 'a record without its errno'

fresh
cat >>"$MMU" <<'END'
int f(void) { return copy_struct_from_user(0); }
END
check
fails 'f() keeps what copy_struct_from_user() returns, which efault.md does not know'
result 'an access to userspace by an unknown function'

fresh
cat >>"$MMU" <<'END'
int f(void) { int r = get_user(x, y); return r ? r : -EFAULT; }
END
sed -i "s/^### virt.*/| \`f\` | \`return ?: -EFAULT\` × 1, \`r = get_user()\` × 1 | uaccess | no |\n&/" "$PAGE"
check
ok '0 failed'
result 'two places in a row'

fresh
cat >>"$MMU" <<'END'
void f(void) { run->exit_reason = KVM_EXIT_MEMORY_FAULT; }
END
check
fails 'not ok' 'f() fills kvm_run itself'
result 'an exit reason beside the mechanism'

fresh
sed -i 's/| uaccess |/| nonsense |/' "$PAGE"
check
fails 'efault.md:14: neither a row of the table'
[ "$STATUS" = 2 ] || bad "status $STATUS"
result 'a class that does not exist'

fresh
echo 'int f(void) { if (x) {' >>"$MMU"
check
fails 'cannot read arch/x86/kvm/mmu.c'
result 'a file that is not C'

# The kernel itself, if it is here: copies of what is scanned.
if [ -f "$HERE/build/tree/virt/kvm/memory_fault.c" ]; then
	rm -rf "$T"
	mkdir "$T"
	(cd "$HERE/build/tree" && cp -r --parents virt/kvm arch/{x86,arm64}/kvm \
		include/kvm include/linux/kvm*.h \
		arch/{x86,arm64}/include/asm/kvm*.h "$T")
	sed -i '/^static int kvm_handle_noslot_fault/,/^}/ {
		/if (fault->is_private)/,+1 c \\tif (fault->is_private)\n\t\treturn -EFAULT;
	}' "$T/arch/x86/kvm/mmu/mmu.c"
	sed -i '/^static int handle_vncr_error_pfn/,/^}/ s/kvm_prepare_\w*/other/' \
		"$T/arch/arm64/kvm/nested.c"
	PAGE=$HERE/docs/efault.md check
	fails "\`return -EFAULT\` in kvm_handle_noslot_fault() is not in" \
		"\`other(…, -EFAULT)\` in handle_vncr_error_pfn() is not in"
	result 'the fault path of the kernel itself, with records taken out'
fi

TREE=$WORK/none check
fails 'is not a kernel tree'
PAGE=$WORK/none check
fails 'is missing'
result 'no tree, no page'
finish
