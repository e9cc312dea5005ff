"""Holds a JUnit file against its XSD, and its counts against its cases."""

import sys
import xml.etree.ElementTree

import xmlschema

xsd, report = sys.argv[1:]
xmlschema.XMLSchema(xsd).validate(report)

root = xml.etree.ElementTree.parse(report).getroot()
(suite,) = root.findall("testsuite")
found = {
    "tests": len(suite.findall("testcase")),
    "failures": len(suite.findall("testcase/failure")),
    "errors": len(suite.findall("testcase/error")),
}
for element in (root, suite):
    said = {name: int(element.get(name)) for name in found}
    assert said == found, f"{element.tag} says {said}, its cases {found}"

print(", ".join(f"{number} {name}" for name, number in found.items()))
