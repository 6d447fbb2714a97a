# SPDX-License-Identifier: GPL-2.0-only
"""usage: efault.py TREE PAGE REPORT

Compares the places in KVM's code that can give -EFAULT or -EHWPOISON with the
table of PAGE, which classifies each, and each class with the code.  Prints TAP,
writes the places with their lines to REPORT.  PAGE explains the classes.
"""
import csv
import glob
import os
import re
import sys
from collections import Counter, defaultdict, namedtuple

import efault_scan as scan

FOLDERS = ('virt/kvm', 'arch/x86/kvm', 'arch/arm64/kvm')
HEADERS = ('include/linux/kvm*.h', 'include/kvm/*.h',
           'arch/x86/include/asm/kvm*.h', 'arch/arm64/include/asm/kvm*.h')
MECHANISM = 'virt/kvm/memory_fault.c'
CLASSES = ('recorded', 'vmm', 'unexplained', 'guest', 'swallowed', 'bug',
           'ioctl', 'uaccess', 'hyp', 'helper', 'tested')
ROLES = ('records', 'marks', 'returns', 'counts')
# Classes of KVM_RUN that promise that there is no record.
RECORDLESS = ('vmm', 'ioctl', 'uaccess', 'hyp')
UACCESS = re.compile(r'(__)?(copy_(to|from)_user|get_user|put_user|clear_user|'
                     r'v?memdup_(array_)?user|copy_struct_from_user|'
                     r'psp_copy_user_blob|kstrto\w+_from_user)$')
# What a function that accesses userspace is called; u64_to_user_ptr() is none.
FOREIGN = re.compile(r'_*(copy|clear|get|put|pin|dup|cmpxchg|fault|str)\w*_user'
                     r'(_(pages?|nofault|inatomic|array|blob)\w*)?$')
BUGS = re.compile(r'(KVM_)?(WARN|BUG)(_ON)?(_ONCE)?$')
ROW = re.compile(r'\| `([^`]+)` \| ((?:`[^`]+` × \d+(?:, )?)+) \| (\w+) \| '
                 r'(.*?) *\|$')
PLACE = re.compile(r'`([^`]+)` × (\d+)')
ROLE = re.compile(r'\| `(\w+)` \| (\w+) \|')

Row = namedtuple('Row', 'file function expression count kind why line')


def die(text):
    print(f'check-efault: error: {text}', file=sys.stderr)
    sys.exit(2)


def read_page(path):
    """The rows and the roles that the page gives to functions."""
    rows, roles, file, section = [], {}, None, ''
    with open(path, encoding='utf-8') as page:
        for number, line in enumerate(page, 1):
            if line.startswith('## '):
                section, file = line[3:].strip(), None
            elif line.startswith('### '):
                file = line.strip('#` \n')
            if not line.startswith('| `'):
                continue
            match, role = ROW.match(line.rstrip()), ROLE.match(line)
            if match and file and match[3] in CLASSES:
                rows += [Row(file, match[1], expression, int(count), match[3],
                             match[4], number)
                         for expression, count in PLACE.findall(match[2])]
            elif role and role[2] in ROLES and not file:
                roles[role[1]] = role[2]
            elif 'class' not in section.lower():
                die(f'{path}:{number}: neither a row of the table '
                    f'(classes: {", ".join(CLASSES)}) nor a role '
                    f'({", ".join(ROLES)})')
    if not rows or not roles:
        die(f'{path} has no table')
    return rows, roles


def read_tree(tree):
    """{path: File} of all that is scanned; KUnit tests aside."""
    paths = []
    for folder in FOLDERS:
        for top, _, names in os.walk(os.path.join(tree, folder)):
            paths += [os.path.join(top, n) for n in names]
    for pattern in HEADERS:
        paths += glob.glob(os.path.join(tree, pattern))
    files = {}
    for path in sorted(paths):
        name = os.path.relpath(path, tree)
        if re.search(r'(?<!_kunit)\.[ch]$', name):
            try:
                with open(path, encoding='utf-8') as source:
                    files[name] = scan.File(name, source.read())
            except (OSError, UnicodeError, scan.ParseError) as error:
                die(f'cannot read {name}: {error}')
    return files


class Check:
    """What is wrong, by file and by class."""

    def __init__(self, tree, page):
        self.page = os.path.basename(page)
        self.rows, self.roles = read_page(page)
        self.files = read_tree(tree)
        self.by_name = defaultdict(list)
        for file in self.files.values():
            for function in file.functions:
                self.by_name[function.name].append(function)
        self.helpers = {r.function.replace('#define ', '') for r in self.rows
                        if r.kind == 'helper' and '(' not in r.function}
        tracked = self.helpers | self.role('returns')
        self.places = [place for path, file in self.files.items()
                       for function in file.functions
                       for place in scan.places_of(path, function, tracked)]
        self.places += self.drops()
        self.problems = defaultdict(list)

    def carriers(self):
        """Functions that return the errno of a record that has been made."""
        records = self.role('records')
        names = records | {
            r.function for r in self.rows if r.kind == 'recorded' and
            any(f.words & records for f in self.functions(*r[:2]))}
        todo = [f for file in self.files.values() for f in file.functions
                if not f.void]
        while True:
            more = {f.name for f in todo if f.name not in names and any(
                how and re.match(r'return |\w+ = ', how)
                for _, _, how in scan.calls_of(f, names))}
            if not more:
                return names
            names |= more

    def drops(self):
        """Where the errno of a record is tested, and may not be passed on."""
        recorded = {r[:2] for r in self.rows if r.kind == 'recorded'}
        names = self.carriers()
        for path, file in self.files.items():
            for function in file.functions:
                if (path, function.name) in recorded:
                    continue
                for name, line, how in scan.calls_of(function, names):
                    if not how or how == 'ignored':
                        yield scan.Place(path, function.name,
                                         f'tests {name}()', line)

    def role(self, *names):
        return {f for f, role in self.roles.items() if role in names}

    def reports(self, function):
        """Does it record, or mark for the one who does?"""
        return bool(function.words & self.role('records', 'marks'))

    def functions(self, file, name):
        if file not in self.files:
            return []
        return [f for f in self.files[file].functions if f.name == name]

    def compare(self):
        """The places against the rows, by file."""
        found, lines = Counter(), defaultdict(list)
        for place in self.places:
            found[place[:3]] += 1
            lines[place[:3]].append(place.line)
        known = Counter()
        for row in self.rows:
            known[row[:3]] += row.count
        for key in sorted(found | known):
            file, function, expression = key
            where = f'{file}:{",".join(map(str, lines[key]))}'
            what = f'`{expression}` in {function}()'
            if not known[key]:
                advice = ('Who gets this errno? If KVM_RUN, over a guest '
                          'access: record it.')
                if expression.startswith('tests '):
                    advice = ('If that has made a record, its errno is lost: '
                              'return it.')
                self.problems[file].append(
                    f'{where}: {what} is not in {self.page}. {advice} Then add: '
                    f'| `{function}` | `{expression}` × {found[key]} | class | '
                    'why |')
            elif not found[key]:
                self.problems[file].append(
                    f'{self.page}: {what}, {file}, is gone. Remove the row, or '
                    'correct it if the place has moved.')
            elif found[key] != known[key]:
                self.problems[file].append(
                    f'{where}: {what} is there {found[key]} times, {self.page} '
                    f'knows {known[key]}. Classify what is new, correct the '
                    'count.')

    def judge(self, row, text):
        self.problems['class ' + row.kind].append(
            f'{self.page}:{row.line}: {row.function}() in {row.file}: {text}')

    def chain(self, row):
        """The functions that the row's reason leads to, itself included."""
        reached = self.functions(row.file, row.function)
        names = {row.function}
        for name in re.findall(r'`([\w()]+?)\(\)`', row.why):
            there = [f for f in self.by_name[name] if not f.name.startswith('#')]
            if not there:
                self.judge(row, f'there is no function {name}()')
                continue
            near = [f for f in there if any(f.calls(n) for n in names) or
                    any(g.calls(name) for g in reached)]
            if not near and row.kind in ('recorded', 'uaccess', 'vmm'):
                self.judge(row, f'{name}() neither calls nor is called by '
                           f'{" or ".join(sorted(names))}()')
            names.add(name)
            reached = reached + (near or there)
        return reached

    def check_row(self, row):
        """The class against the code."""
        here = self.functions(row.file, row.function)
        if not here:
            return      # compare() has said so
        records = any(self.reports(f) for f in here)
        argument = row.expression.split('(')[0] in self.role('records')
        chain = self.chain(row)
        words = set().union(*(f.words for f in chain))
        if (row.kind == 'tested') != row.expression.startswith('tests '):
            self.judge(row, f'"{row.kind}" does not go with {row.expression}')
        elif row.kind == 'recorded':
            if not any(self.reports(f) for f in chain):
                self.judge(row, 'is "recorded", but neither it nor a function '
                           'that the reason names calls one that records')
        elif argument:
            self.judge(row, f'is "{row.kind}", but {row.expression} records it')
        elif row.kind in RECORDLESS and records:
            self.judge(row, f'is "{row.kind}", but the function records a '
                       'memory fault')
        elif row.kind in ('guest', 'swallowed') and records and not any(
                r.kind == 'recorded' for r in self.rows
                if r[:2] == row[:2]):
            self.judge(row, f'is "{row.kind}", but the function records a '
                       'memory fault, and no row of it says so')
        if row.kind in ('uaccess', 'vmm') and not any(map(UACCESS.match, words)):
            self.judge(row, f'is "{row.kind}", but does not access memory of '
                       'userspace')
        if row.kind == 'bug' and not any(map(BUGS.match, words)):
            self.judge(row, 'is "bug", but nothing warns of a bug')
        if row.kind == 'hyp' and '/hyp/nvhe/' not in row.file:
            self.judge(row, 'is "hyp", but not in code of EL2 alone')

    def check_functions(self):
        """Those that the page gives a role to."""
        problems = self.problems['functions with a role']
        reporters = self.role('records', 'marks')
        for name in sorted(reporters):
            there = self.by_name[name]
            if not there:
                problems.append(f'{self.page}: there is no function {name}()')
            elif not any(f.words & (reporters - {name}) or
                         {'memory_fault', 'unbacked'} & f.words for f in there):
                problems.append(f'{self.page}: {name}() records nothing')

        for path, file in self.files.items():
            for function in file.functions:
                names = {w for w in function.words if FOREIGN.match(w) and
                         w not in self.roles and w not in self.by_name and
                         '#define ' + w not in self.by_name}
                problems += [
                    f'{path}:{line}: {function.name}() keeps what {name}() '
                    f'returns, which {self.page} does not know. Add it to the '
                    'functions: "returns" if it can be -EFAULT, else "counts".'
                    for name, line, how in scan.calls_of(function, names)
                    if how and how != 'ignored']

    def check_exit_reason(self):
        """Nobody but the mechanism tells userspace of a memory fault."""
        problems = self.problems['KVM_EXIT_MEMORY_FAULT']
        for path, file in self.files.items():
            if path == MECHANISM:
                continue
            for function in file.functions:
                text = ' '.join(t.text for t in function.body)
                if 'KVM_EXIT_MEMORY_FAULT' in function.words or \
                        'run -> memory_fault .' in text:
                    problems.append(f'{path}:{function.line}: {function.name}() '
                                    'fills kvm_run itself. Call '
                                    'kvm_prepare_memory_fault_exit().')

    def run(self):
        self.compare()
        for row in self.rows:
            self.check_row(row)
        self.check_functions()
        self.check_exit_reason()

    def report(self, path):
        """The places with their lines; rows that share a key share them."""
        rows = defaultdict(list)
        for row in self.rows:
            rows[row[:3]].append(row)
        with open(path + '.tmp', 'w', encoding='utf-8') as out:
            table = csv.writer(out, 'excel-tab', lineterminator='\n')
            table.writerow(('place', 'function', 'expression', 'class', 'why'))
            for place in sorted(self.places, key=lambda p: (p.file, p.line)):
                known = rows[place[:3]]
                table.writerow((
                    f'{place.file}:{place.line}', place.function,
                    place.expression,
                    ' or '.join(dict.fromkeys(r.kind for r in known)) or '?',
                    '; '.join(dict.fromkeys(r.why for r in known))))
        os.replace(path + '.tmp', path)

    def tap(self):
        """Prints the results; True if all is well."""
        names = sorted({p.file for p in self.places} |
                       {r.file for r in self.rows})
        names += ['class ' + kind for kind in CLASSES]
        names += ['functions with a role', 'KVM_EXIT_MEMORY_FAULT']
        print('TAP version 13')
        bad = 0
        for number, name in enumerate(names, 1):
            problems = self.problems[name]
            bad += bool(problems)
            print(f'{"not " if problems else ""}ok {number} {name}')
            for problem in problems:
                print(f'# {problem}')
        print(f'1..{len(names)}')
        kinds = Counter()
        for row in self.rows:
            kinds[row.kind] += row.count
        print(f'# {len(self.places)} places in {len(self.files)} files; '
              f'{self.page} has {len({r.line for r in self.rows})} rows: '
              + ', '.join(f'{kinds[k]} {k}' for k in CLASSES))
        print(f'# {len(names) - bad} passed, {bad} failed')
        return not bad


def main():
    if len(sys.argv) != 4:
        die(__doc__.split('\n', 1)[0])
    tree, page, report = sys.argv[1:]
    check = Check(tree, page)
    check.run()
    check.report(report)
    return 0 if check.tap() else 1


sys.exit(main())
