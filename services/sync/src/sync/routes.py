"""HTTP in, one service call, out."""

from fastapi import APIRouter

router = APIRouter()
internal = APIRouter()
