# SPDX-License-Identifier: GPL-2.0-only
"""Where C code can give -EFAULT or -EHWPOISON: the scanner of efault.py.

It reads tokens, not lines: comments and strings do not count, the body of a
macro belongs to the macro, every branch of an #if counts.  It knows functions
by name, and of an expression what encloses it, i.e. what becomes of its value.
"""
import re
from collections import namedtuple

ERRNOS = {'EFAULT', 'EHWPOISON', 'KVM_EFAULT'}
PFNS = {'KVM_PFN_ERR_FAULT', 'KVM_PFN_ERR_RO_FAULT', 'KVM_PFN_ERR_HWPOISON'}
# Exception table entries that put -EFAULT in a register.
FIXUPS = {'_ASM_EXTABLE_UACCESS_ERR', '_ASM_EXTABLE_UACCESS_ERR_ZERO',
          'EX_TYPE_EFAULT_REG', '_ASM_EXTABLE_KACCESS_ERR'}
COMPARES = {'==', '!=', '<', '>', '<=', '>=', '&&', '||'}
ASSIGNS = {'=', '|=', '+=', '&='}
CONDITIONS = {'if', 'while', 'switch', 'for', 'sizeof', 'typeof'}
# Value in, value out; and value in, truth out.
TRANSPARENT = {'likely', 'unlikely', 'ERR_PTR', 'PTR_ERR', 'ERR_CAST', 'return'}
TESTS = re.compile(r'(IS_ERR|(KVM_)?(WARN|BUG)_ON|KVM_MMU_WARN_ON)')
# Attributes that take arguments and can follow those of a function.
ATTRIBUTES = re.compile(r'__(printf|scanf|attribute__|acquires|releases|aligned|'
                        r'must_hold|section|no_sanitize)\w*$|asm$')
WORD = re.compile(r'[A-Za-z_]\w*$')

TOKEN = re.compile(r'''
    (?P<space>[ \t\f\r]+|\\\n)|(?P<newline>\n)|
    (?P<comment>/\*.*?\*/|//(?:\\\n|[^\n])*)|
    (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|
    (?P<word>[A-Za-z_]\w*)|(?P<number>\.?\d[\w.]*)|
    (?P<punct>->|\+\+|--|<<=|>>=|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\#\#|\.\.\.|.)
    ''', re.X | re.S)

Token = namedtuple('Token', 'text line glued', defaults=(False,))
Place = namedtuple('Place', 'file function expression line')


class ParseError(Exception):
    """The scanner does not understand a file."""


def tokens(text):
    """Yields lists of tokens; each preprocessor directive is one of its own."""
    line, current, directive, end = 1, [], False, -1
    for match in TOKEN.finditer(text):
        kind, value = match.lastgroup, match.group()
        if kind == 'newline' and directive:
            yield current
            current, directive = [], False
        elif kind not in ('space', 'newline', 'comment'):
            if value == '#' and not directive:
                if current:
                    yield current
                current, directive = [], True
            current.append(Token('""' if kind == 'string' else value, line,
                                 match.start() == end))
            end = match.end()
        line += value.count('\n')
    if current:
        yield current


class Function:
    """A function, a macro ('#define NAME') or an initialized variable."""

    def __init__(self, name, line, body, header=()):
        self.name, self.line, self.body = name, line, body
        self.words = {t.text for t in body}
        kind = [t.text for t in header]
        kind = kind[:kind.index('(')] if '(' in kind else []
        self.void = 'void' in kind and '*' not in kind

    def calls(self, name):
        """Does the function name `name`, FNAME(x) included?"""
        bare = re.sub(r'^FNAME\((\w+)\)$', r'\1', name)
        return bare in self.words


def close_of(toks, i):
    """The index behind the parenthesis that closes toks[i]."""
    depth = 0
    while i < len(toks):
        depth += {'(': 1, ')': -1}.get(toks[i].text, 0)
        i += 1
        if depth == 0:
            break
    return i


def name_of(header):
    """The name of what begins with `header` and a brace; '' if it is a type."""
    name, i = '', 0
    while i < len(header):
        text = header[i].text
        if text in ('=', '[') and i:
            return name or header[i - 1].text
        if text != '(' or i == 0:
            i += 1
            continue
        end = close_of(header, i)
        before = header[i - 1].text
        if WORD.match(before) and not ATTRIBUTES.match(before):
            inner = ''.join(t.text for t in header[i:end])
            if end < len(header) and header[end].text == '(':
                name = before + inner
                end = close_of(header, end)
            else:
                name = before if not before.isupper() else before + inner
        i = end
    return name


class File:
    """The functions of one file."""

    def __init__(self, path, text):
        self.path, self.functions = path, []
        self.depth, self.header, self.body, self.branches = 0, [], [], []
        for part in tokens(text):
            if part[0].text == '#':
                self.directive(part)
            else:
                self.code(part)
        if self.depth or self.branches:
            raise ParseError(f'{path}: braces or #ifs do not match')

    def directive(self, part):
        what = part[1].text if len(part) > 1 else ''
        if what == 'define' and len(part) > 2:
            body = part[3:]
            if body and body[0].text == '(' and body[0].glued:
                body = body[close_of(body, 0):]
            self.functions.append(Function('#define ' + part[2].text,
                                           part[0].line, body))
        elif what in ('if', 'ifdef', 'ifndef'):
            self.branches.append(self.depth)
        elif what in ('else', 'elif') and self.branches:
            # Each branch may open the same brace.
            self.depth = self.branches[-1]
        elif what == 'endif' and self.branches:
            self.branches.pop()

    def end_of_header(self):
        """What stands outside of braces matters in a macro's arguments."""
        if {t.text for t in self.header} & (ERRNOS | PFNS | FIXUPS):
            self.functions.append(Function('-', self.header[0].line, self.header))
        self.header = []

    def code(self, part):
        for tok in part:
            if tok.text == '{':
                if self.depth == 0:
                    self.body = []
                self.depth += 1
            if self.depth == 0:
                self.header.append(tok)
                if tok.text == ';':
                    self.end_of_header()
                continue
            self.body.append(tok)
            if tok.text == '}':
                self.depth -= 1
                if self.depth == 0:
                    self.functions.append(
                        Function(name_of(self.header), self.body[0].line,
                                 self.body, self.header))
                    self.end_of_header()


class Expression:
    """Tokens `first` to `last` of a function, and what encloses them."""

    def __init__(self, toks, first, last):
        self.toks, self.first, self.last = toks, first, last
        self.choice = False

    def before(self):
        return self.toks[self.first - 1].text if self.first else ';'

    def after(self, skip=1):
        i = self.last + skip
        return self.toks[i].text if i < len(self.toks) else ';'

    def tested(self):
        """Only whether there is an error matters, not which."""
        if self.after() == '?':
            if self.after(2) != ':':
                return True
            self.choice = True
        return (self.before() in COMPARES or self.after() in COMPARES or
                self.before() in ('case', '!'))

    def is_value(self, macro):
        """It is what a macro, or a statement in parentheses, evaluates to."""
        if [self.after(i) for i in (1, 2, 3)] == [';', '}', ')']:
            return True
        return macro and self.first == 0 and self.last + 1 == len(self.toks)

    def open_of(self, i):
        depth = 0
        while i > 0:
            depth += {')': 1, ']': 1, '(': -1, '[': -1}.get(self.toks[i].text, 0)
            if depth == 0:
                break
            i -= 1
        return i

    def is_choice(self, i):
        """The colon at i is not a label's: a question mark precedes it."""
        while i > 0:
            i -= 1
            text = self.toks[i].text
            if text in (')', ']'):
                i = self.open_of(i)
            elif text == '?':
                return True
            elif text in (';', '{', '}', '(', 'case', 'default'):
                break
        return False

    def outward(self):
        """What decides on the value, and where: return, =, ( or ;."""
        i, toks = self.first - 1, self.toks
        while i >= 0:
            text = toks[i].text
            if text in (')', ']'):
                i = self.open_of(i)
                if i and toks[i - 1].text in CONDITIONS and toks[i].text == '(':
                    return ';', i
            elif text in ('(', 'return', 'case'):
                return text, i
            elif text in ASSIGNS:
                return '=', i
            elif text == '?' or text == ':' and self.is_choice(i):
                self.choice = True
            elif text in (';', '{', '}', ':', 'else', 'do'):
                return ';', i
            i -= 1
        return ';', i

    def target(self, i):
        """The text left of the assignment at i."""
        parts, toks = [], self.toks
        while i > 0:
            i -= 1
            text = toks[i].text
            if text == ']':
                i = self.open_of(i)
                parts.insert(0, '[]')
            elif text in ('->', '.') or WORD.match(text):
                if WORD.match(text) and parts and WORD.match(parts[0]):
                    break
                parts.insert(0, text)
            else:
                if text == '*' and i and not WORD.match(toks[i - 1].text):
                    parts.insert(0, '*')
                break
        return ''.join(parts)


def describe(toks, first, last, what, literal=False, macro=False):
    """How the page spells the expression, None if its value goes nowhere."""
    expr = Expression(toks, first, last)
    while True:
        if expr.tested():
            return None
        kind, i = expr.outward()
        text = ('?: ' if expr.choice else '') + what
        if kind == 'return':
            return f'return {text}'
        if kind == '=':
            return f'{expr.target(i)} = {text}'
        if kind != '(':
            return text if kind == ';' and (
                literal or expr.choice or expr.is_value(macro)) else None
        call = toks[i - 1].text if i else ''
        close = close_of(toks, i) - 1
        if call in CONDITIONS or TESTS.match(call):
            return f'{call}({text})' if literal else None
        if WORD.match(call) and call not in TRANSPARENT:
            comma = any(t.text == ',' for t in toks[i:close])
            return f'{call}({"…, " if comma else ""}{text})'
        if call in ('ERR_PTR', 'PTR_ERR', 'ERR_CAST'):
            what = f'{call}({what})'
        named = WORD.match(call) and call != 'return'
        expr.first, expr.last = i - bool(named), close


def arguments(toks, i):
    """Where the arguments begin if toks[i] is called, also as NAME##x(), or 0."""
    if i and toks[i - 1].text in ('.', '->'):
        return 0
    i += 3 if i + 3 < len(toks) and toks[i + 1].text == '##' else 1
    return i if i < len(toks) and toks[i].text == '(' else 0


def is_reference(toks, i):
    """toks[i] is a function's name, but not called: somebody else will."""
    return (i > 0 and toks[i - 1].text in ('=', '&', ',', '(', ':', '?') and
            (i + 1 == len(toks) or toks[i + 1].text in (',', ';', '}', ')', ':')))


def places_of(path, function, tracked):
    """The places of a function, calls of `tracked` functions included."""
    toks = function.body
    macro = (function.name or '').startswith('#')
    if not function.words & (ERRNOS | PFNS | FIXUPS | tracked):
        return
    for i, tok in enumerate(toks):
        text, found = tok.text, None
        if text in ERRNOS:
            minus = i > 0 and toks[i - 1].text == '-'
            found = describe(toks, i - minus, i, '-' * minus + text, True)
        elif text in PFNS:
            found = describe(toks, i, i, text, True)
        elif text in FIXUPS:
            found = text
        elif text in tracked and arguments(toks, i):
            found = describe(toks, i, close_of(toks, arguments(toks, i)) - 1,
                             text + '()', macro=macro)
        elif text in tracked and is_reference(toks, i):
            # CLASS(name, variable) keeps an errno in the variable.
            found = '&' + text if toks[i - 2].text != 'CLASS' else f'CLASS({text})'
        if found:
            yield Place(path, function.name or '-', found, tok.line)


def calls_of(function, names):
    """What becomes of the value of each call of `names`: (name, line, how).
    `how` is as the page spells it, 'ignored', or None if it is tested."""
    toks = function.body
    if not function.words & names:
        return
    for i, tok in enumerate(toks):
        if tok.text in names and arguments(toks, i):
            end = close_of(toks, arguments(toks, i)) - 1
            how = describe(toks, i, end, tok.text + '()')
            expr = Expression(toks, i, end)
            if not how and not expr.tested() and expr.outward()[0] == ';':
                how = 'ignored'
            yield tok.text, tok.line, how
