# SPDX-License-Identifier: GPL-2.0-only
# results.tsv of `make bench`, as tables for people.

function label(name) {
	if (name in labels)
		return labels[name]
	return name
}

function round(x) { return x == "" ? "" : sprintf("%.0f", x) }

function difference(a, b) {
	return a == "" || b == "" ? "" : sprintf("%+.2f %%", (b - a) * 100 / a)
}

BEGIN {
	labels["pio"] = "`KVM_RUN`, an exit for PIO"
	labels["mmio-write"] = "`KVM_RUN`, an exit for MMIO, write"
	labels["mmio-read"] = "`KVM_RUN`, an exit for MMIO, read"
	labels["cpuid"] = "CPUID, without leaving the kernel"
	labels["hypercall"] = "hypercall, without leaving the kernel"
	labels["fault-in"] = "fault that KVM resolves"
	labels["fault-exit"] = "memory fault: `KVM_RUN` fails"
	labels["fault-mend"] = "memory fault: `mprotect()` mends the page"
	labels["fault-retry"] = "memory fault: `KVM_RUN` completes"
	labels["fault"] = "memory fault, all three"
	labels["none"] = "no paging"
	labels["uffd"] = "userfaultfd, one thread"
	labels["uffd-each"] = "userfaultfd, a thread each"
	labels["fault-copy"] = "memory faults, `UFFDIO_COPY`"
	labels["fault-mprotect"] = "memory faults, `mprotect()`"
}

NR == 1 { next }

!($1 in archs) { archs[$1] = ++nr_archs; arch[nr_archs] = $1 }

{
	value[$1, $2, $3, $4] = $5
	if (split($4, part, "/") == 4) {
		what = $3 SUBSEP part[3] SUBSEP part[4]
		if ($2 == "series" && !((part[2]) in types)) {
			types[part[2]] = ++nr_types
			type[nr_types] = part[2]
		}
		if ($2 == "series" && !(what in places)) {
			places[what] = ++nr_places
			place[nr_places] = what
		}
	} else if (!($4 in names)) {
		names[$4] = ++nr_names
		name[nr_names] = $4
	}
}

function exits(  i, j, a, b) {
	printf "| Instructions |"
	for (i = 1; i <= nr_archs; i++)
		printf " %s: base | series | |", arch[i]
	printf "\n|---|"
	for (i = 1; i <= nr_archs; i++)
		printf "---:|---:|---:|"
	print ""
	for (j = 1; j <= nr_names; j++) {
		printf "| %s |", label(name[j])
		for (i = 1; i <= nr_archs; i++) {
			a = value[arch[i], "base", "icount", name[j]]
			b = value[arch[i], "series", "icount", name[j]]
			printf " %s | %s | %s |", round(a), round(b), difference(a, b)
		}
		print ""
	}
}

function paging(clock, title,  i, j, k, part, v) {
	printf "\n| %s |", title
	for (k = 1; k <= nr_types; k++)
		printf " %s |", label(type[k])
	printf "\n|---|"
	for (k = 1; k <= nr_types; k++)
		printf "---:|"
	print ""
	for (i = 1; i <= nr_archs; i++)
		for (j = 1; j <= nr_places; j++) {
			split(place[j], part, SUBSEP)
			if (part[1] != clock)
				continue
			printf "| %s, %d vCPU%s, %d MiB |", arch[i], part[2],
			       part[2] == 1 ? "" : "s", part[3]
			for (k = 1; k <= nr_types; k++) {
				v = value[arch[i], "series", clock,
					  "paging/" type[k] "/" part[2] "/" part[3]]
				if (v != "" && clock == "wall")
					v = 1e9 / v
				printf " %s |", round(v)
			}
			print ""
		}
}

END {
	exits()
	paging("icount", "Instructions a page")
	paging("wall", "Pages a second")
}
